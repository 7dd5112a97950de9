"""Exact and near copies by hand, and by planting them: what the gate misses, and what it leaves alone."""

import os
from datetime import date
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from bench.planted import divided, missed, simulated
from evaluators.privacy.copies import Copies, resolution
from synthmill.columns import Column, Schema
from synthmill.errors import SourceError
from synthmill.evaluator import Measured, Measurement, Reference, References
from synthmill.shares import wilson

DATA = Path(os.environ.get("SYNTHMILL_TEST_DATA") or Path(__file__).parents[3] / "shared" / "data")

ID = Column(name="id", kind="id", dtype="int64")
X = Column(name="x", kind="number", dtype="double")
COUNT = Column(name="count", kind="integer", dtype="int64")
DAY = Column(name="day", kind="date", dtype="date32")
LABEL = Column(name="label", kind="category", dtype="string")


def measurement(columns: tuple[Column, ...], rows: dict, train: dict) -> Measurement:
    schema = Schema(columns=columns)
    measured, known = (pa.table(side, schema=schema.arrow) for side in (rows, train))
    features = Copies().prepare(known, schema, seed=0)
    references = References(schema, Reference(known), Reference(known), features)
    return Copies().measure(Measured(measured), references, seed=0)


def near(columns: tuple[Column, ...], rows: dict, train: dict) -> float:
    return measurement(columns, rows, train).scores["near"]


@pytest.mark.parametrize(
    ("values", "expected"),
    [([3, 1, 2, 2, 5], 1), ([0.25, 0.5, 1.0, 1.25], 0.25), ([7, 7], 0), ([0.3, 0.1 + 0.2, 0.7 + 0.1, 0.8, 1.3], 0.5)],
)
def test_the_resolution_is_the_median_gap_of_distinct_amounts(values, expected):
    assert resolution(np.array(values, dtype=np.float64)) == pytest.approx(expected)


def test_near_is_within_half_the_resolution():
    train = {"x": [0.0, 1.0, 2.0, 4.0]}
    assert near((X,), {"x": [0.5]}, train) == 1
    assert near((X,), {"x": [-0.5]}, train) == 1
    assert near((X,), {"x": [2.51]}, train) == 0
    assert near((X,), {"x": [-0.51]}, train) == 0
    assert near((X,), {"x": [4.4, 5.6, 400.0, -400.0]}, train) == 0.25


def test_a_moved_decimal_is_near_on_the_very_edge():
    """0.15 - 0.1 is a little more than half of a tenth in binary."""
    train = {"x": [k / 10 for k in range(1000)]}
    assert near((X,), {"x": [k / 10 + 0.05 for k in range(1000)]}, train) == 1


def test_all_columns_must_be_near_one_and_the_same_row():
    train = {"x": [0.0, 1.0, 2.0], "count": [10, 20, 30], "label": ["a", "b", "c"]}
    rows = {"x": [0.4, 0.4, 0.4], "count": [10, 20, 10], "label": ["a", "b", "b"]}
    assert near((X, COUNT, LABEL), rows, train) == pytest.approx(1 / 3)


def test_labels_are_never_near_each_other():
    train = {"x": [0.0, 1.0], "label": ["a", None]}
    assert near((X, LABEL), {"x": [0.0, 1.0, 1.0], "label": [None, "b", "a"]}, train) == 0
    assert near((X, LABEL), {"x": [0.0, 1.0], "label": ["a", None]}, train) == 1


def test_a_missing_amount_is_near_a_missing_one_only():
    train = {"x": [0.0, 1.0, None], "label": ["a", "a", "b"]}
    assert near((X, LABEL), {"x": [None, 0.0], "label": ["a", "b"]}, train) == 0
    assert near((X, LABEL), {"x": [None], "label": ["b"]}, train) == 1


def test_a_constant_is_near_within_a_millionth():
    train = {"x": [5.0, 5.0], "count": [1, 2]}
    assert near((X, COUNT), {"x": [5.0, 5.0 + 4e-6, 5.0 + 6e-6, None], "count": [1, 1, 1, 1]}, train) == 0.5


def test_days_and_ids():
    train = {"id": [1, 2], "day": [date(2026, 1, 1), date(2026, 1, 8)]}
    rows = {"id": [3, 4, 5], "day": [date(2026, 1, 4), date(2026, 1, 5), date(2026, 1, 12)]}
    found = measurement((ID, DAY), rows, train)
    assert found.scores == {"": 0, "near": pytest.approx(2 / 3)}
    with pytest.raises(SourceError, match="all are ids"):
        measurement((ID,), {"id": [1]}, {"id": [1]})


def test_near_agrees_with_comparing_every_pair():
    rng = np.random.default_rng(0)
    made = {
        name: {
            "x": rng.normal(size=rows).round(1),
            "count": rng.integers(0, 8, rows),
            "label": rng.choice(["a", "b"], rows),
        }
        for name, rows in (("train", 60), ("rows", 300))
    }
    halves = {name: resolution(made["train"][name].astype(float)) / 2 for name in ("x", "count")}
    pairs = made["rows"]["label"][:, None] == made["train"]["label"]
    for name, half in halves.items():
        pairs &= np.abs(made["rows"][name][:, None] - made["train"][name]) <= half * (1 + 1e-6)
    expected = pairs.any(axis=1).mean()
    assert 0.05 < expected < 0.5
    assert near((X, COUNT, LABEL), made["rows"], made["train"]) == expected


def test_intervals_are_wilsons_so_that_no_copy_is_no_certainty():
    train = {"x": [float(i) for i in range(100)], "label": ["a"] * 100}
    found = measurement((X, LABEL), {"x": [0.0] * 2 + [0.3] * 3 + [9.0] * 95, "label": ["a"] * 5 + ["b"] * 95}, train)
    assert found.scores == {"": 0.02, "near": 0.05}
    assert found.intervals == {"": wilson(2, 100), "near": wilson(5, 100)}
    assert Copies.replicates == 0


@pytest.mark.parametrize(("kind", "gate"), [("exact", "privacy/copies"), ("jittered", "privacy/copies/near")])
def test_one_in_a_hundred_is_caught(kind, gate):
    verdicts = list(missed(simulated(seed=1), kind, range(20)))
    assert sum(verdict[gate] for verdict in verdicts) >= 19


def test_exact_copies_alone_do_not_see_moved_ones():
    assert not any(v["privacy/copies"] for v in missed(simulated(seed=1), "jittered", range(5)))


def test_unseen_rows_raise_no_false_alarm():
    verdicts = [v for seed in range(10) for v in missed(simulated(seed), "none", range(20 * seed, 20 * seed + 20))]
    alarms = {gate: np.mean([v[gate] for v in verdicts]) for gate in verdicts[0]}
    assert max(alarms.values()) <= 0.05


@pytest.mark.skipif(not DATA.is_dir(), reason="no SYNTHMILL_TEST_DATA")
def test_one_in_a_hundred_is_caught_on_adult():
    from synthmill.sources import read

    found = read("adult.csv", root=DATA, overrides={}, target="income")
    world = divided(found.table, found.schema, seed=1)
    for kind, gate in (("exact", "privacy/copies"), ("jittered", "privacy/copies/near")):
        assert sum(verdict[gate] for verdict in missed(world, kind, range(20))) >= 19
    assert sum(any(verdict.values()) for verdict in missed(world, "none", range(40))) <= 2
