"""Commands outside the workflow: a module each, with `arguments(parser)` and `run(**options)`."""
