"""Intervals that say 95 % and mean it."""

from functools import cache

import pytest

from bench.coverage import coverage
from synthmill import registry


@pytest.mark.slow
def test_95_percent_intervals_hold_the_truth_in_90_to_99_of_100_simulations(monkeypatch):
    # What is installed stays the same; looking for plug-ins a dozen times a simulation takes as long as measuring.
    monkeypatch.setattr(registry, "entry_points", cache(registry.entry_points))
    found = coverage(["fidelity/shape", "fidelity/trend"], rows=400, simulations=100)
    assert {name: 0.90 <= score.held <= 0.99 for name, score in found.items()} == dict.fromkeys(found, True)
