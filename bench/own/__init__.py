"""Synthmill's side of the benchmarks, in processes that import no more than they need; beside ../peers."""
