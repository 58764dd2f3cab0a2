"""Changing a picture by changing its codes."""
