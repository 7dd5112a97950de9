"""Intervals that say 95 % and mean it."""

import pytest

from bench.coverage import coverage


@pytest.mark.slow
def test_95_percent_intervals_hold_the_truth_in_90_to_99_of_100_simulations():
    found = coverage(["fidelity/shape", "fidelity/trend"], rows=400, simulations=200)
    assert {name: 0.90 <= score.held <= 0.99 for name, score in found.items()} == dict.fromkeys(found, True)
