"""What the measurements look like to a reader: tables, figures, galleries and the published numbers."""
