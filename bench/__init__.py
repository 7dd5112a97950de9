"""Side-by-side benchmarks, each a command: `python -m bench.generate`."""
