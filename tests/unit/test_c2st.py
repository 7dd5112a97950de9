"""By what the detector tells rows apart, and the logistic one beside it."""

import numpy as np
import pyarrow as pa
import pytest
from support.tables import MIXED, mixed

from evaluators.fidelity.c2st import C2st
from evaluators.fidelity.c2st_logistic import C2stLogistic
from synthmill.columns import Column, Schema
from synthmill.errors import SourceError
from synthmill.evaluator import Measured, Measurement, Reference, References

ID = Column(name="id", kind="id", dtype="int64")
WEIGHT = Column(name="weight", kind="integer", dtype="int64")
CITY = Column(name="city", kind="category", dtype="string")
X = Column(name="x", kind="number", dtype="double", nullable=True)


def measurement(evaluator, measured: pa.Table, real: pa.Table, schema: Schema = MIXED) -> Measurement:
    return evaluator.measure(Measured(measured), References(schema, Reference(real), Reference(real)), seed=0)


def logistic(columns: tuple[Column, ...], measured: dict, real: dict) -> float:
    schema = Schema(columns=columns)
    sides = [pa.table(side, schema=schema.arrow) for side in (measured, real)]
    return measurement(C2stLogistic(), *sides, schema).scores[""]


def replaced(table: pa.Table, name: str, values) -> pa.Table:
    index = table.column_names.index(name)
    return table.set_column(index, table.field(name), pa.array(values, table.field(name).type))


@pytest.mark.parametrize("name", ["age", "income", "member"])
def test_a_shuffled_column_is_named_first(name):
    table = mixed(rows=2000, seed=1)
    shuffled = replaced(table, name, table[name].to_pandas().sample(frac=1, random_state=0).tolist())
    columns = measurement(C2st(), shuffled, mixed(rows=2000, seed=2)).tables["columns"]
    assert columns["column"][0].as_py() == name
    assert columns["evidence"][0].as_py() > 0.02
    for shares in ("importance", "gain"):
        assert sum(columns[shares].to_pylist()) == pytest.approx(1)


def test_where_nothing_tells_rows_apart_nothing_is_named():
    tables = measurement(C2st(), mixed(rows=1000, seed=1), mixed(rows=1000, seed=2)).tables
    assert set(tables["columns"]["importance"].to_pylist()) == {0}
    assert tables["ranges"].num_rows == 0


def test_two_telling_columns_do_not_hide_each_other():
    """Either alone gives nearly every row away, so that the AUC hardly misses one of them."""
    names = ("x", "y", "z")
    schema = Schema(columns=tuple(X.model_copy(update={"name": name}) for name in names))
    synthetic, real = np.random.default_rng(0).normal(size=(2, 3, 1000))
    synthetic[:2] += 3
    sides = [pa.table(dict(zip(names, side, strict=True)), schema=schema.arrow) for side in (synthetic, real)]
    found = measurement(C2st(), *sides, schema)
    columns = found.tables["columns"].to_pylist()
    assert found.scores[""] < 0.01
    assert {line["column"] for line in columns[:2]} == {"x", "y"}
    assert columns[1]["importance"] > 0.3


def test_a_telling_range_is_named_first_with_its_shares():
    """Incomes of 4.1 % of the synthetic rows lie where no real ones do."""
    table, real = mixed(rows=2000, seed=1), mixed(rows=2000, seed=2)
    odd = np.arange(2000) < 82
    income = np.where(odd, -500.0 + np.arange(2000) % 7, table["income"].to_numpy())
    ranges = measurement(C2st(), replaced(table, "income", income), real).tables["ranges"].to_pylist()
    assert ranges[0]["column"] == "income"
    assert ranges[0]["range"].startswith("-500 to ")
    assert ranges[0]["synthetic"] == pytest.approx(0.041, abs=0.006)  # edges are those of two-hundredths of the rows
    assert ranges[0]["real"] < 0.01
    assert ranges[0]["probability"] > 0.9


def test_a_label_that_only_one_real_row_has_is_not_shown():
    table, real = mixed(rows=1000, seed=1), mixed(rows=1000, seed=2)
    cities = real["city"].to_pylist()
    found = measurement(C2st(), replaced(table, "city", ["Rome"] * 1000), replaced(real, "city", ["Bern", *cities[1:]]))
    shown = found.tables["ranges"].to_pylist()
    assert {"Rome", "Oslo"} <= {line["range"] for line in shown if line["column"] == "city"}
    assert "Bern" not in str(shown)
    assert {line["real"] for line in shown if 0 < line["real"] * 1000 < 5} == set()


def test_tables_are_small_for_many_columns():
    rng = np.random.default_rng(0)
    names = [f"x{i}" for i in range(200)]
    schema = Schema(columns=tuple(Column(name=name, kind="number", dtype="double") for name in names))
    sides = [pa.table(dict(zip(names, rng.normal(shift, 1, (200, 120)), strict=True))) for shift in (0, 1)]
    tables = measurement(C2st(), *sides, schema).tables
    assert tables["columns"].num_rows == 200
    assert 0 < tables["ranges"].num_rows <= 60
    assert sum(table.nbytes for table in tables.values()) < 20_000


def test_logistic_is_one_on_equal_and_zero_on_apart():
    x = np.random.default_rng(0).normal(size=(3, 1000))
    assert logistic((X,), {"x": x[0]}, {"x": x[1]}) > 0.9
    assert logistic((X,), {"x": x[0] + 20}, {"x": x[1]}) == 0


def test_logistic_finds_the_best_possible_detector_of_two_normals():
    from scipy.stats import norm

    x = np.random.default_rng(0).normal(size=(2, 4000))
    best = 1 - 2 * (norm.cdf(1 / np.sqrt(2)) - 0.5)
    assert logistic((X,), {"x": x[0] + 1}, {"x": x[1]}) == pytest.approx(best, abs=0.03)


def test_logistic_sees_no_dependence():
    x, y = np.random.default_rng(0).normal(size=(2, 1000))
    columns = (X, X.model_copy(update={"name": "y"}))
    schema = Schema(columns=columns)
    sides = [pa.table(side, schema=schema.arrow) for side in ({"x": x, "y": x}, {"x": x, "y": y})]
    assert measurement(C2stLogistic(), *sides, schema).scores[""] > 0.9
    assert measurement(C2st(), *sides, schema).scores[""] < 0.3


def test_logistic_takes_unseen_labels_missing_cells_and_empty_columns():
    half = {"city": ["Oslo"] * 300 + ["Pisa"] * 300}
    new = {"city": ["Oslo"] * 300 + ["new"] * 300}  # AUC 7/8, as half of each side is tied
    assert logistic((CITY,), new, half) == pytest.approx(0.25, abs=0.02)
    rare = {"city": [*(f"only {i}" for i in range(600))]}
    assert logistic((CITY,), rare, half) < 0.1
    x = np.random.default_rng(0).normal(size=600)
    holes = [None if i % 2 else float(cell) for i, cell in enumerate(x)]
    assert logistic((X,), {"x": holes}, {"x": x}) < 0.6
    assert (
        logistic((X, WEIGHT), {"x": [None] * 600, "weight": [1] * 600}, {"x": [None] * 600, "weight": [1] * 600}) == 1
    )


@pytest.mark.parametrize("broken", [1e6, 1e20, 1e300])
def test_logistic_sees_one_column_beside_broken_cells_in_another(broken):
    """A shift of three deviations beside three broken cells on either side."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(2, 2, 1000))
    y[:, :3] = broken
    columns = (X, X.model_copy(update={"name": "y"}))
    assert logistic(columns, {"x": x[0] + 3, "y": y[0]}, {"x": x[1], "y": y[1]}) < 0.05


def test_a_regression_that_leaves_a_column_unused_is_no_coin(monkeypatch):
    """Without the ends of scaled amounts lbfgs gives up where it began."""
    monkeypatch.setattr("evaluators.fidelity.c2st_logistic.FARTHEST", np.inf)
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(2, 2, 1000))
    y[:, :3] = 1e20
    columns = (X, X.model_copy(update={"name": "y"}))
    assert np.isnan(logistic(columns, {"x": x[0] + 3, "y": y[0]}, {"x": x[1], "y": y[1]}))


def test_logistic_scales_spikes():
    """Nine in ten gains are 0 and some are huge: their quartiles meet, and the fit still ends at what the weights tell."""
    rng = np.random.default_rng(0)
    gains = [np.where(rng.random(1000) < 0.9, 0.0, rng.uniform(1e3, 1e5, 1000)) for _ in range(2)]
    weights = [rng.normal(shift, 1, 1000) for shift in (0, 1)]
    columns = (X, X.model_copy(update={"name": "gain"}))
    sides = [{"x": w, "gain": g} for w, g in zip(weights, gains, strict=True)]
    assert logistic(columns, *sides) == pytest.approx(logistic((X,), *({"x": w} for w in weights)), abs=0.02)


@pytest.mark.parametrize("evaluator", [C2st(), C2stLogistic()])
def test_ids_alone_are_an_error(evaluator):
    table = pa.table({"id": [1, 2, 3]})
    with pytest.raises(SourceError, match="no column to tell rows apart by"):
        measurement(evaluator, table, table, Schema(columns=(ID,)))
