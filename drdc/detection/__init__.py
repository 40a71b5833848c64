"""A trained model as a detector for any image."""
