"""Measuring a generator that has an answer key: every z has true factors, so its errors are measured, not estimated."""
