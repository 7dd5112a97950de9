"""Known pairs of columns, and what the tables of details hold."""

import numpy as np
import pyarrow as pa
import pytest
from support.measuring import ID, A, B, X, Y, column_alone, measured_by

from evaluators.fidelity.mutual_information import MutualInformation
from evaluators.fidelity.trend import SHOWN_COLUMNS, Trend
from synthmill.columns import Column
from synthmill.errors import SourceError


def trend(columns, synthetic, real) -> float:
    return measured_by(Trend(), columns, synthetic, real).scores[""]


def normals(rows: int = 200) -> tuple[np.ndarray, np.ndarray]:
    return tuple(np.random.default_rng(0).normal(size=(2, rows)))


def test_amounts_compare_their_correlations():
    x, noise = normals()
    assert trend((X, Y), {"x": x, "y": 3 * x + 1}, {"x": x, "y": x}) == pytest.approx(
        1
    )  # r knows neither scale nor place
    assert trend((X, Y), {"x": x, "y": -x}, {"x": x, "y": x}) == pytest.approx(0)
    r = np.corrcoef(x, noise)[0, 1]
    assert trend((X, Y), {"x": x, "y": noise}, {"x": x, "y": x}) == pytest.approx(1 - (1 - r) / 2)


def test_an_amount_that_never_varies_has_no_correlation():
    x, _ = normals()
    assert trend((X, Y), {"x": x, "y": 0 * x}, {"x": x, "y": x}) == pytest.approx(0.5)
    assert trend((X, Y), {"x": x, "y": 0 * x}, {"x": x, "y": 0 * x + 9}) == 1


def test_labels_compare_the_shares_of_their_pairs():
    real = {"a": ["p", "p", "q", "q"], "b": ["s", "s", "t", "t"]}
    assert trend((A, B), {"a": ["p", "q"] * 2, "b": ["s", "s", "t", "t"]}, real) == pytest.approx(0.5)
    assert trend((A, B), {"a": ["p", "p", "q", "q"], "b": ["t", "t", "s", "s"]}, real) == 0
    assert trend((A, B), {"a": ["p", "p", "q", None], "b": ["s", "s", "t", "t"]}, real) == pytest.approx(0.75)


def test_an_amount_beside_a_label_is_read_in_bins_that_no_outlier_moves():
    x = np.arange(200.0)
    a = np.where(x < 100, "p", "q")
    assert trend((X, A), {"x": x, "a": a[::-1]}, {"x": x, "a": a}) == 0
    outlier = np.where(x == 199, 1e9, x)
    assert trend((X, A), {"x": outlier, "a": a}, {"x": x, "a": a}) == 1


def test_missing_cells_are_left_out_of_a_correlation_and_are_a_label_elsewhere():
    x = [float(i) for i in range(20)]
    holes = [None if i % 5 == 0 else v for i, v in enumerate(x)]
    assert trend((X, Y), {"x": holes, "y": x}, {"x": x, "y": x}) == pytest.approx(1)
    a = ["p"] * 20
    assert trend((X, A), {"x": holes, "a": a}, {"x": x, "a": a}) < 0.85


def test_columns_sampled_on_their_own_score_below_real_rows():
    x, noise = normals(1000)
    rows = pa.table({"x": x, "y": x + noise, "a": np.where(x > 0, "p", "q"), "b": np.where(x + noise > 0, "s", "t")})
    real, other = rows.slice(0, 500), rows.slice(500)
    alone = column_alone(other, np.random.default_rng(1))
    for evaluator in (Trend(), MutualInformation()):
        ceiling = measured_by(evaluator, (X, Y, A, B), other.to_pydict(), real.to_pydict()).scores[""]
        floor = measured_by(evaluator, (X, Y, A, B), alone.to_pydict(), real.to_pydict()).scores[""]
        assert floor + 0.1 < ceiling < 1


@pytest.mark.parametrize("evaluator", [Trend(), MutualInformation()])
def test_the_shuffled_column_is_the_worst_and_stands_in_the_worst_pairs(evaluator):
    x, noise = normals(400)
    rows = {"x": x, "y": x + noise, "a": np.where(x > 0, "p", "q"), "b": np.where(x - noise > 0, "s", "t")}
    shuffled = {**rows, "a": np.random.default_rng(1).permutation(rows["a"])}
    tables = measured_by(evaluator, (X, Y, A, B), shuffled, rows).tables
    columns = tables["columns"].sort_by("value")
    assert columns["column"].to_pylist()[0] == "a"
    assert tables["pairs"].num_rows == 6
    worst = tables["pairs"].slice(0, 3)
    assert all("a" in pair for pair in zip(worst["left"].to_pylist(), worst["right"].to_pylist(), strict=True))
    assert columns["value"].to_pylist()[0] == pytest.approx(np.mean(worst["value"].to_pylist()), abs=1e-6)


def test_the_score_is_the_mean_over_pairs():
    x, noise = normals()
    rows = {"x": x, "y": x + noise, "a": np.where(x > 0, "p", "q")}
    found = measured_by(Trend(), (X, Y, A), {**rows, "x": noise}, rows)
    assert found.tables["pairs"].num_rows == 3
    assert found.scores[""] == pytest.approx(np.mean(found.tables["pairs"]["value"].to_pylist()), abs=1e-6)


def test_correlations_show_every_pair_of_the_worst_columns_once():
    x, _ = normals()
    rows = {"x": x, "y": -x, "a": np.where(x > 0, "p", "q"), "b": np.where(x > 0, "s", "t")}
    shown = measured_by(Trend(), (X, Y, A, B), {**rows, "b": ["s", "t"] * 100}, rows).tables["correlations"].to_pylist()
    found = {(row["column"], row["other"]): (row["synthetic"], row["real"]) for row in shown}
    assert list(found) == [("x", "y"), ("x", "a"), ("x", "b"), ("y", "a"), ("y", "b"), ("a", "b")]
    assert found["x", "y"] == pytest.approx((-1, -1))
    eta = abs(np.corrcoef(x, x > 0)[0, 1])
    assert found["x", "a"] == pytest.approx((eta, eta), abs=1e-6)
    assert found["a", "b"][0] < 0.2
    assert found["a", "b"][1] == 1


def test_a_wide_table_shows_its_worst_columns_alone():
    rng = np.random.default_rng(0)
    hidden = rng.normal(size=200)
    columns = tuple(Column(name=f"c{i:02d}", kind="number", dtype="double") for i in range(SHOWN_COLUMNS + 10))
    real = {column.name: hidden + rng.normal(size=200) for column in columns}
    broken = {name: rng.permutation(cells) if name < "c08" else cells for name, cells in real.items()}
    tables = measured_by(Trend(), columns, broken, real).tables
    shown = {*tables["correlations"]["column"].to_pylist(), *tables["correlations"]["other"].to_pylist()}
    assert len(shown) == SHOWN_COLUMNS
    assert {f"c0{i}" for i in range(8)} <= shown
    assert tables["columns"].num_rows == len(columns)
    assert tables["pairs"].num_rows == 50


def test_one_column_is_no_pair():
    for evaluator in (Trend(), MutualInformation()):
        with pytest.raises(SourceError, match="1 of the columns can be compared"):
            measured_by(evaluator, (ID, X), {"id": [1], "x": [1.0]}, {"id": [2], "x": [1.0]})
