"""DRDC: the training of its two models, and their predictions."""
