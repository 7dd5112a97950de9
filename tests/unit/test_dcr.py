"""The DCR share and its interval: by hand, on copies, on unseen rows, and 200 times over."""

import numpy as np
import pyarrow as pa
import pytest

from evaluators.privacy.dcr import Dcr, Share, distance_ratios
from synthmill.columns import Column, Schema
from synthmill.evaluator import Measured, Measurement, Reference, References
from synthmill.neighbours import Neighbours
from synthmill.shares import wilson_share

X = Column(name="x", kind="number", dtype="double")
Y = Column(name="y", kind="number", dtype="double")
LABEL = Column(name="label", kind="category", dtype="string")


def measurement(columns: tuple[Column, ...], rows: dict, train: dict, holdout: dict, seed: int = 0) -> Measurement:
    schema = Schema(columns=columns)
    measured, known, unseen = (pa.table(side, schema=schema.arrow) for side in (rows, train, holdout))
    return Dcr().measure(Measured(measured), References(schema, Reference(unseen), Reference(known)), seed=seed)


def drawn(rng: np.random.Generator, rows: int) -> dict:
    return {"x": rng.standard_t(3, rows), "y": rng.standard_t(3, rows)}


def test_the_share_by_hand():
    train, holdout = {"x": [0.0, 10.0]}, {"x": [4.0, 8.0]}
    assert measurement((X,), {"x": [1.0, 5.0]}, train, holdout).scores[""] == 0.5
    assert measurement((X,), {"x": [1.0, 1.0, 9.5, 5.0]}, train, holdout).scores[""] == 0.75
    assert measurement((X,), {"x": [2.0, 9.0]}, train, holdout).scores[""] == 0.5  # two ties
    assert measurement((X,), {"x": [2.0, 1.0]}, train, holdout).scores[""] == 0.75


def test_far_amounts_move_l1_and_not_gower():
    """Beyond the range of train all are equally far under Gower's distance; here the labels then decide."""
    train = {"x": [0.0, 1.0, 0.0, 1.0], "label": ["a", "a", "a", "a"]}
    holdout = {"x": [100.0, 200.0, 300.0, 400.0], "label": ["b", "b", "b", "b"]}
    found = measurement((X, LABEL), {"x": [100.0] * 4, "label": ["a"] * 4}, train, holdout)
    assert found.scores[""] == 0.5  # (1 + 0) / 2 to train, (0 + 1) / 2 to the holdout
    assert found.scores["l1"] == 0


def test_the_ratio_by_hand():
    found = Neighbours(np.array([[1.0, 4.0], [0.0, 3.0], [0.0, 0.0], [2.0, 2.0]]), np.zeros((4, 2), np.int64))
    assert distance_ratios(found).tolist() == [0.25, 0, 1, 1]


def test_copies_are_the_worst_there_is():
    rng = np.random.default_rng(0)
    train, holdout = drawn(rng, 500), drawn(rng, 500)
    found = measurement((X, Y), train, train, holdout)
    assert found.scores == {"": 1, "l1": 1, "nndr": 0}
    assert found.intervals[""][0] > 0.99
    assert found.intervals["nndr"] == (0, 0)


def test_half_copies_are_three_quarters():
    rng = np.random.default_rng(1)
    train, holdout, unseen = (drawn(rng, 2000) for _ in range(3))
    rows = {name: np.concatenate([train[name][:1000], unseen[name][1000:]]) for name in ("x", "y")}
    found = measurement((X, Y), rows, train, holdout)
    for name in ("", "l1"):
        assert found.scores[name] == pytest.approx(0.75, abs=0.02)
        assert found.intervals[name][0] > 0.5


def test_intervals_cover_one_half_for_unseen_rows():
    """Rows that share a closest record are no independent votes: taken as such, they would cover 91 %."""
    covered = []
    for seed in range(200):
        rng = np.random.default_rng(seed)
        found = measurement((X, Y), drawn(rng, 900), drawn(rng, 300), drawn(rng, 300))
        covered.append([found.intervals[name][0] <= 0.5 <= found.intervals[name][1] for name in ("", "l1")])
    shares = np.mean(covered, axis=0)
    assert (shares >= 0.9).all()
    assert (shares <= 0.99).all()


def test_the_effective_number_of_rows_by_hand():
    """Ten rows at each of 10 records, 6 of train and 4 of the holdout; of 20 records: 1 / (10 x 0.1^2 - 1 / 20) = 20."""
    record = np.repeat(np.arange(10), 10)[:, None]
    is_train = record < 6
    to_train, to_holdout = (Neighbours(np.where(near, 0.1, 0.9), record) for near in (is_train, ~is_train))
    assert Share.of(to_train, to_holdout, 20) == Share(0.6, pytest.approx(wilson_share(0.6, 20)))


def test_rows_that_all_have_one_closest_record_say_little():
    train, holdout = {"x": [0.0, 90.0, 100.0]}, {"x": [70.0, 80.0, 100.0]}
    low, high = measurement((X,), {"x": [0.1] * 500}, train, holdout).intervals[""]
    assert high - low > 0.5


def test_train_is_cut_to_the_rows_of_the_holdout():
    """With four times the rows, train would be nearer to four of five rows."""
    rng = np.random.default_rng(2)
    train, holdout, rows = drawn(rng, 4000), drawn(rng, 1000), drawn(rng, 1000)
    found = [measurement((X, Y), rows, train, holdout, seed=seed).scores[""] for seed in (0, 0, 1)]
    assert found[0] == found[1] != found[2]
    assert found == pytest.approx([0.5] * 3, abs=0.06)


def test_the_histogram_holds_every_row_and_no_single_one():
    rng = np.random.default_rng(3)
    found = measurement((X, Y), drawn(rng, 1000), drawn(rng, 1000), drawn(rng, 1000)).tables["distances"]
    table = found.to_pydict()
    for name in ("synthetic_to_train", "synthetic_to_holdout", "holdout_to_train"):
        assert sum(table[name]) == pytest.approx(1)
    assert table["from"][1:] == table["to"][:-1]
    assert table["to"][-1] is None
    assert table["holdout_to_train"][-1] * 1000 >= 5
