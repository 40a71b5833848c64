"""One resumable training loop for every model."""
