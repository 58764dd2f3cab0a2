"""Metrics, and evaluations of encoders, of generators that have an answer key, and of instruments."""
