"""Networks put together with what they know of the world."""
