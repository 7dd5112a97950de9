"""Closed forms and reference implementations for the evaluators of tables."""

from datetime import datetime

import numpy as np
import pyarrow as pa
import pytest
from scipy.stats import ks_2samp

from evaluators.fidelity.c2st import C2st
from evaluators.fidelity.shape import Shape
from evaluators.privacy.copies import Copies
from evaluators.utility.tstr import Tstr
from synthmill.columns import Column, Schema
from synthmill.errors import SourceError
from synthmill.evaluator import Evaluator, Measured, Measurement, Reference, References
from synthmill.features import encode_jointly
from synthmill.shapes import kolmogorov_smirnov, total_variation

X = Column(name="x", kind="number", dtype="double")
Y = Column(name="y", kind="number", dtype="double")
LABEL = Column(name="label", kind="category", dtype="string")
ID = Column(name="id", kind="id", dtype="int64")


def measurement(
    evaluator: Evaluator, columns, measured: dict, holdout: dict, *, train=None, target=None
) -> Measurement:
    schema = Schema(columns=columns, target=target)
    tables = [pa.table(side, schema=schema.arrow) for side in (measured, holdout, train or holdout)]
    features = evaluator.prepare(tables[2], schema, seed=0)
    references = References(schema, Reference(tables[1]), Reference(tables[2]), features)
    return evaluator.measure(Measured(tables[0]), references, seed=0)


def value(*args, **kwargs) -> float:
    return measurement(*args, **kwargs).scores[""]


@pytest.mark.parametrize("seed", range(5))
def test_kolmogorov_smirnov_is_scipys(seed):
    rng = np.random.default_rng(seed)
    x, y = rng.normal(size=70).round(1), rng.normal(0.3, 1.2, size=90).round(1)  # with ties
    assert kolmogorov_smirnov(x, y) == pytest.approx(ks_2samp(x, y).statistic, abs=1e-12)


def test_total_variation_by_hand():
    x, y = pa.chunked_array([["a", "a", "b", None]]), pa.chunked_array([["a", "b", "c", "c"]])
    assert total_variation(x, y) == pytest.approx(0.5 * (0.25 + 0 + 0.5 + 0.25))


def test_shape_counts_missing_cells():
    half = {"x": [1.0, None, 2.0, None], "label": ["a", "b", None, None]}
    none = {"x": [1.0, 1.0, 2.0, 2.0], "label": ["a", "a", "b", "b"]}
    found = measurement(Shape(), (X, LABEL), half, none)
    assert found.tables["columns"]["value"].to_pylist() == pytest.approx([0.5, 0.5])
    assert found.scores[""] == pytest.approx(0.5)


def test_shape_leaves_ids_out():
    assert value(Shape(), (ID, X), {"id": [1, 2], "x": [0.0, 1.0]}, {"id": [8, 9], "x": [0.0, 1.0]}) == 1
    with pytest.raises(SourceError, match="no column has a shape"):
        value(Shape(), (ID,), {"id": [1]}, {"id": [2]})


def normal(seed: int, rows: int = 400) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=rows)


def test_c2st_is_one_on_equal_and_zero_on_apart():
    assert value(C2st(), (X,), {"x": normal(0)}, {"x": normal(1)}) > 0.85
    assert value(C2st(), (X,), {"x": normal(0) + 20}, {"x": normal(1)}) == pytest.approx(0, abs=0.001)


@pytest.mark.parametrize("shift", [0.5, 1.0])
def test_c2st_finds_the_best_possible_detector_of_two_normals(shift):
    """AUC of N(shift, 1) against N(0, 1) is Phi(shift / sqrt 2); trees stay a little below it."""
    from scipy.stats import norm

    best = 1 - 2 * (norm.cdf(shift / np.sqrt(2)) - 0.5)
    found = value(C2st(), (X,), {"x": normal(0, 4000) + shift}, {"x": normal(1, 4000)})
    assert best - 0.02 < found < best + 0.06


def test_c2st_sees_dependence_labels_and_missing_cells():
    x, y = normal(0), normal(1)
    assert value(C2st(), (X, Y), {"x": x, "y": y}, {"x": normal(2), "y": normal(2)}) < 0.3
    label = {"label": ["a"] * 200 + ["b"] * 200}  # AUC: 1/2 (b) + 1/2 (1/2 for a tied + 1/2 for new) = 7/8
    assert value(C2st(), (LABEL,), {"label": ["a"] * 200 + ["new"] * 200}, label) == pytest.approx(0.25, abs=0.01)
    holes = [None if i % 2 else float(cell) for i, cell in enumerate(x)]
    assert value(C2st(), (X,), {"x": holes}, {"x": y}) < 0.6


def test_c2st_sees_seconds_of_a_time_of_today():
    """In float32 a microsecond count of today is rounded to more than a minute."""
    column = Column(name="t", kind="datetime", dtype="timestamp")
    start = int(datetime(2026, 11, 20).timestamp()) * 10**6
    times = start + 10**5 * np.arange(400)
    late = pa.array(times + 20 * 10**6, pa.timestamp("us"))  # half of the 40 s overlap
    assert value(C2st(), (column,), {"t": late}, {"t": pa.array(times, pa.timestamp("us"))}) < 0.5


def test_c2st_cannot_tell_by_ids():
    sides = {"id": np.arange(400), "x": normal(0)}, {"id": np.arange(1000, 1400), "x": normal(1)}
    assert value(C2st(), (ID, X), *sides) > 0.85


def regression(seed: int, noise: float) -> dict:
    x = normal(seed, 600)
    return {"x": x, "y": 2 * x + noise * normal(seed + 100, 600)}


def test_tstr_r2_by_hand():
    """Var(2x) = 4 and noise of variance 1 leave an R2 of 0.8; without any tie it is at most 0; turned around far below."""
    columns, test = (X, Y), regression(1, noise=1)
    assert value(Tstr(), columns, regression(0, noise=1), test, target="y") == pytest.approx(0.8, abs=0.06)
    unrelated = {"x": normal(5, 600), "y": normal(6, 600)}
    assert value(Tstr(), columns, unrelated, test, target="y") < 0.1
    against = {"x": -regression(0, noise=1)["x"], "y": regression(0, noise=1)["y"]}
    assert value(Tstr(), columns, against, test, target="y") < -1


def labelled(seed: int, names=("a", "b", "c")) -> dict:
    x = normal(seed)
    return {"x": x, "label": np.array(names)[np.digitize(x, (-0.5, 0.5))].tolist()}


def test_tstr_auc_by_hand():
    columns = (X, LABEL)
    assert value(Tstr(), columns, labelled(0), labelled(1), target="label") > 0.98
    mixed = {"x": normal(2), "label": labelled(0)["label"]}
    assert value(Tstr(), columns, mixed, labelled(1), target="label") == pytest.approx(0.5, abs=0.1)


def test_tstr_gives_chance_for_labels_that_synthetic_rows_never_show():
    columns, test = (X, LABEL), labelled(1)
    never_c = labelled(0, names=("a", "b", "b"))
    seen = value(Tstr(), columns, labelled(0), test, target="label")
    assert value(Tstr(), columns, never_c, test, target="label") < seen - 0.1
    one_only = {"x": normal(0), "label": ["a"] * 400}
    assert value(Tstr(), columns, one_only, test, target="label") == 0.5


def test_tstr_is_not_defined_on_a_constant_target():
    sides = {"x": normal(0), "y": normal(2)}, {"x": normal(1), "y": np.ones(400)}
    assert np.isnan(value(Tstr(), (X, Y), *sides, target="y"))


def test_tstr_ignores_rows_with_a_missing_target():
    train, test = regression(0, noise=1), regression(1, noise=1)
    whole = value(Tstr(), (X, Y), train, test, target="y")
    longer = {"x": [*train["x"], 9.0], "y": [*train["y"], None]}
    assert value(Tstr(), (X, Y), longer, test, target="y") == whole


def test_copies_counts_rows_that_equal_a_train_row_but_for_the_id():
    train = {"id": [1, 2, 3], "x": [1.0, 2.0, None], "label": ["a", "b", None]}
    rows = {"id": [7, 8, 9, 10], "x": [1.0, 2.0, None, 1.0], "label": ["a", "a", None, "a"]}
    assert value(Copies(), (ID, X, LABEL), rows, rows, train=train) == 0.75
    far = {"id": [1], "x": [5.0], "label": ["a"]}
    assert value(Copies(), (ID, X, LABEL), far, rows, train=train) == 0


def test_amounts_beyond_float32_and_infinite_ones_are_encoded():
    schema = Schema(columns=(X,))
    table = pa.table({"x": [1e300, -np.inf, np.inf, None, 0.0]}, schema=schema.arrow)
    [rows] = encode_jointly([table], schema.columns).rows
    assert np.isnan(rows[3, 0])
    assert np.isfinite(rows[[0, 1, 2, 4], 0]).all()
