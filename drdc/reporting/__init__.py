"""What the measurements look like to a reader: tables, curves, galleries and the paper's own numbers."""
