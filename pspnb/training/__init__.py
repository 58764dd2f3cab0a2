"""Training: optimiser, checkpoints, the loops for encoders and for generators; book part "Training"."""
