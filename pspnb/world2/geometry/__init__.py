"""Where things are: rays, implicit surfaces and where a ray meets them, in the head's and the body's frames."""
