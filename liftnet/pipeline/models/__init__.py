"""Trained weights on disk: runs, checkpoints, model files, and what is known of their training."""
