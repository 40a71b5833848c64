"""What can be set, and which variants and names follow from it."""
