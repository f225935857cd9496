"""What `benchmarks.serving`, `benchmarks.swaps` and `benchmarks.soak` are made of."""
