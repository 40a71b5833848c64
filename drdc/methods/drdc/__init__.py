"""DRDC itself: its two trained models, what is stored of their predictions, and its detector."""
