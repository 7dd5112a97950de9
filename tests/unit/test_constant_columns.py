"""A column with one amount in train says nothing about which train row a row comes from, and must not hide the row that it comes from."""

import numpy as np
import pyarrow as pa
import pytest

from evaluators.diversity.prdc import Prdc
from evaluators.privacy.attributes import Attributes
from evaluators.privacy.copies import Copies
from evaluators.privacy.dcr import Dcr
from evaluators.privacy.membership import Membership
from evaluators.privacy.outliers import Outliers
from synthmill.columns import Column, Schema
from synthmill.evaluator import Evaluator, Measured, Reference, References
from synthmill.neighbours import Embedding
from synthmill.neighbours.scale import Scale, is_constant

SCHEMA = Schema(columns=tuple(Column(name=name, kind="number", dtype="double") for name in "kxyz"))
ROWS = 400
SIGNS = np.where(np.arange(ROWS) % 2, 1.0, -1.0)


def drawn(seed: int, k: float | np.ndarray) -> pa.Table:
    rng = np.random.default_rng(seed)
    return pa.table(
        {
            "k": np.full(ROWS, k),
            "x": rng.normal(size=ROWS),
            "y": rng.lognormal(size=ROWS),
            "z": rng.lognormal(size=ROWS),
        }
    )


def scores(evaluator: Evaluator, rows: pa.Table, train: pa.Table, holdout: pa.Table) -> dict[str, float]:
    features = evaluator.prepare(train, SCHEMA, seed=0)
    references = References(SCHEMA, Reference(holdout), Reference(train), features)
    return dict(evaluator.measure(Measured(rows), references, seed=0).scores)


def jittered(table: pa.Table, spread: float) -> pa.Table:
    noise = np.random.default_rng(9).normal(size=ROWS)
    return table.set_column(0, "k", pa.array(table["k"].to_numpy() + spread * noise))


@pytest.mark.parametrize(
    ("k", "spread"),
    [(0.1, 0.0), (0.1, 1e-9), (1.0, 1e-9), (1.0, 0.5), (0.0, 1e-12), (1.7e15, 1e3)],
)
def test_copies_with_a_jittered_constant_are_caught(k, spread):
    train, holdout = drawn(1, k), drawn(2, k)
    copies = jittered(train, spread)
    dcr = scores(Dcr(), copies, train, holdout)
    assert dcr["l1"] == dcr[""] == 1
    assert dcr["nndr"] < 1e-3
    assert min(scores(Membership(), copies, train, holdout).values()) > 0.99
    assert scores(Outliers(), copies, train, holdout)[""] > 0.9
    assert scores(Attributes(), copies, train, holdout)[""] > 0.5


@pytest.mark.parametrize(("k", "offset"), [(0.1, 1e-9), (1.0, 1e-9), (-0.3, 1e-7), (1.7e15, 1e3)])
def test_copies_are_near_where_a_constant_is_off_by_a_rounding(k, offset):
    train = drawn(1, k)
    moved = train.set_column(0, "k", pa.array(np.full(ROWS, k + offset)))
    assert scores(Copies(), moved, train, train) == {"": 0, "near": 1}
    further = train.set_column(0, "k", pa.array(np.full(ROWS, k + 3e-6 * max(abs(k), 1))))
    assert scores(Copies(), further, train, train) == {"": 0, "near": 0}


@pytest.mark.parametrize("k", [0.1, 1.0])
def test_unseen_rows_with_a_jittered_constant_cover_as_without(k):
    train, holdout, unseen = drawn(1, k), drawn(2, k), drawn(3, k)
    assert scores(Prdc(), jittered(unseen, 1e-9), train, holdout) == scores(Prdc(), unseen, train, holdout)
    assert scores(Prdc(), jittered(unseen, 50.0), train, holdout)["precision"] < 0.5, "another value is no rounding"


@pytest.mark.parametrize("huge", [1e154, 1e308])
@pytest.mark.filterwarnings("error")
def test_huge_amounts_leave_copies_and_unseen_rows_apart(huge):
    train, holdout, unseen = (drawn(seed, huge * SIGNS) for seed in (1, 2, 3))
    unseen = unseen.set_column(0, "k", pa.array(-huge * SIGNS))
    assert scores(Copies(), train, train, holdout) == {"": 1, "near": 1}
    assert scores(Copies(), unseen, train, holdout) == {"": 0, "near": 0}
    for rows, low, high in ((train, 0.99, 1), (unseen, 0.3, 0.7)):
        assert low <= scores(Dcr(), rows, train, holdout)[""] <= high
        assert low <= scores(Dcr(), rows, train, holdout)["l1"] <= high
        assert low <= scores(Membership(), rows, train, holdout)[""] <= high
    assert Embedding.fit(train, SCHEMA.columns)(unseen)[:, 0] == pytest.approx(-SIGNS, rel=1e-6)
    flipped = train.set_column(0, "k", pa.array(-huge * SIGNS))
    assert scores(Copies(), flipped, train, holdout)["near"] == 0, "the sign tells rows apart"


@pytest.mark.parametrize("apart", [1e-9, 1e-12])
def test_two_amounts_that_lie_close_hide_no_copies_from_dcr(apart):
    """A jitter of a million deviations and more: L1 is blurred by it, but does not drown."""
    train, holdout = (drawn(seed, np.where(SIGNS > 0, 0.1, 0.1 + apart)) for seed in (1, 2))
    copies = jittered(train, 1e-3)
    dcr = scores(Dcr(), copies, train, holdout)
    assert dcr[""] > 0.95
    assert dcr["l1"] > 0.6


def test_equal_amounts_are_constant_whatever_their_mean_rounds_to():
    equal = np.full(2000, 0.1)
    assert equal.std() > 0, "what makes the test needed"
    assert is_constant(equal)
    assert is_constant(np.array([0.3, 0.1 + 0.2]))
    assert not is_constant(np.array([0.3, 0.3 + 1e-12]))


def test_units_by_hand():
    values = np.array([0.0, 2.0, np.nan, np.inf])
    assert Scale.of_range(values)(values, 9).tolist()[:2] == [0, 1]
    assert Scale.of_deviation(values)(np.array([-1e300, 1, 3, np.inf]), 9).tolist() == [-9, 0, 2, 9]
    assert np.isnan(Scale.of_deviation(values)(values, 9)[2])
    constant = Scale.of_deviation(np.full(7, 20.0))
    assert constant(np.array([20.0, 500.0, np.inf]), 9).tolist() == [0, 0, 0]
    assert constant.with_unit()(np.array([20.0, 40.0, np.inf]), 9).tolist() == [0, 1, 9]
    assert Scale.of_range(np.array([np.nan])) == Scale(0.0, 0.0)
