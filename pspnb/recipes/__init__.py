"""How each shipped file is made: literal numbers, and the entry points of training."""
