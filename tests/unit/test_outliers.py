"""Outlier exposure: by hand, on copies, on unseen rows, and where there is nobody to expose."""

import math

import numpy as np
import pyarrow as pa
import pytest

from evaluators.privacy.outliers import Outliers
from synthmill.columns import Column, Schema
from synthmill.evaluator import Measured, Measurement, Reference, References
from synthmill.shares import newcombe

X = Column(name="x", kind="number", dtype="double")
Y = Column(name="y", kind="number", dtype="double")
LABEL = Column(name="label", kind="category", dtype="string")


def measurement(columns: tuple[Column, ...], rows: dict, train: dict, holdout: dict) -> Measurement:
    schema = Schema(columns=columns)
    measured, known, unseen = (pa.table(side, schema=schema.arrow) for side in (rows, train, holdout))
    return Outliers().measure(Measured(measured), References(schema, Reference(unseen), Reference(known)), seed=0)


def drawn(rng: np.random.Generator, rows: int) -> dict:
    return {"x": rng.standard_t(3, rows), "y": rng.standard_t(3, rows)}


CLOSE = np.arange(380) / 1000
FAR = 100.0 * np.arange(1, 21)  # 5 % of 400 rows, each 100 from the next


def test_exposure_by_hand():
    """An outlier of train is exposed by a row less than a third of 100 away; the holdout's are met by none or by two."""
    train, holdout = {"x": [*CLOSE, *FAR]}, {"x": [*-CLOSE, *-FAR]}
    rows = {"x": [100.0, 233.0, 334.0, 466.0, -100.0, -220.0]}
    found = measurement((X,), rows, train, holdout)
    assert found.tables["exposed"].to_pydict() == {
        "side": ["train", "holdout"],
        "outliers": [20, 20],
        "exposed": [2, 2],
    }
    assert found.scores[""] == 0
    found = measurement((X,), {"x": [100.0, 233.0, 334.0, 466.0, 500.0]}, train, holdout)
    assert found.scores[""] == 3 / 20
    assert found.intervals[""] == newcombe(3, 20, 0, 20)


def test_copies_expose_every_outlier_of_train():
    rng = np.random.default_rng(0)
    train, holdout = drawn(rng, 1000), drawn(rng, 1000)
    found = measurement((X, Y), train, train, holdout)
    (of_train, of_holdout), outliers = found.tables["exposed"]["exposed"].to_pylist(), 50
    assert of_train == outliers
    assert of_holdout < outliers / 4
    assert found.scores[""] == 1 - of_holdout / outliers
    assert found.intervals[""][0] > 0.5


def test_a_row_that_is_rare_by_its_labels_is_an_outlier():
    x = np.linspace(0, 1, 400)
    names = np.where(np.arange(400) < 20, [f"rare {i}" for i in range(400)], "common")
    train, holdout = {"x": x, "label": names}, {"x": x, "label": ["common"] * 400}
    copied = {"x": x[:20], "label": names[:20]}
    assert measurement((X, LABEL), copied, train, holdout).tables["exposed"]["exposed"][0].as_py() == 20


def test_unseen_rows_raise_no_false_alarm():
    alarms = []
    for seed in range(200):
        rng = np.random.default_rng(seed)
        low, high = measurement((X, Y), drawn(rng, 400), drawn(rng, 400), drawn(rng, 400)).intervals[""]
        assert low <= high
        alarms.append(low > 0)
    assert np.mean(alarms) <= 0.05


def test_a_tenth_copied_is_seen_in_3000_rows():
    rng = np.random.default_rng(1)
    train, holdout, unseen = (drawn(rng, 3000) for _ in range(3))
    rows = {name: np.concatenate([train[name][:300], unseen[name][300:]]) for name in ("x", "y")}
    assert measurement((X, Y), rows, train, holdout).intervals[""][0] > 0


def test_rows_that_have_a_twin_are_no_outliers_and_without_outliers_nothing_is_defined():
    twins = {"x": [*CLOSE[:190], *CLOSE[:190]]}
    found = measurement((X,), twins, twins, {"x": [*CLOSE, *FAR]})
    assert found.tables["exposed"]["outliers"].to_pylist() == [0, 20]
    assert math.isnan(found.scores[""])
    few = {"x": np.arange(180.0)}
    assert math.isnan(measurement((X,), few, few, few).scores[""])


def test_train_is_cut_to_the_rows_of_the_holdout():
    rng = np.random.default_rng(2)
    train, holdout = drawn(rng, 1600), drawn(rng, 400)
    assert measurement((X, Y), holdout, train, holdout).tables["exposed"]["outliers"].to_pylist() == [20, 20]


@pytest.mark.parametrize("far", [1e3, 1e6])
def test_one_distant_row_does_not_hide_the_others(far):
    """Gower's distance divides by train's range, so all others draw together; who is rare among them stays so."""
    rng = np.random.default_rng(3)
    train, holdout = drawn(rng, 1000), drawn(rng, 1000)
    train["x"][0] = far
    found = measurement((X, Y), train, train, holdout)
    assert found.tables["exposed"]["exposed"].to_pylist()[0] == 50
