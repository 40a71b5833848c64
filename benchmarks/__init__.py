"""Speed next to what a user would choose instead (`python -m benchmarks`), and two studies of accuracy."""
