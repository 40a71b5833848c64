"""One module for each benchmark, whose `races(tiny)` gives what is measured."""
