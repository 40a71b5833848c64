"""Parts of the adapter onto anomalib: its models by name, their weights, and what some of them need."""
