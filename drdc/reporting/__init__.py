"""How results are presented: tables, figures, the gallery, and the published numbers."""
