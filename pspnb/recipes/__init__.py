"""Literal numbers: how each network of this book is trained, at each scale."""
