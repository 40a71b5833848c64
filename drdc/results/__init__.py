"""Where results are stored, and how they are read."""
