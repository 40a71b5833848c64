"""A whole experiment: its configuration, what each stage sees of it, its manual."""
