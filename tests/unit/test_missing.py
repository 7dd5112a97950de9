"""Where cells are missing: by column, by row, and beside other columns."""

import numpy as np
import pyarrow as pa
import pytest
from scipy.stats.contingency import association
from support.measuring import ID, A, B, X, Y, column_alone, measured_by

from evaluators.fidelity.missing import RARE_ROWS, Missing, missing_dependence
from synthmill.columns import Column


def scores(columns, synthetic, real) -> dict:
    return dict(measured_by(Missing(), columns, synthetic, real).scores)


def holes(values, is_missing) -> list:
    return [None if missing else float(value) for value, missing in zip(values, is_missing, strict=True)]


def test_nothing_missing_is_one_and_says_so():
    rows = {"x": [1.0, 2.0] * 5, "a": ["p", "q"] * 5}
    found = measured_by(Missing(), (X, A), rows, rows)
    assert found.scores == {"": 1, "columns": 1, "dependence": 1}
    assert found.tables["columns"].num_rows == 0
    assert found.tables["patterns"].to_pylist() == [
        {"pattern": "nothing missing", "synthetic": 1, "real": 1},
        {"pattern": "others", "synthetic": 0, "real": 0},
    ]


def test_a_generator_that_fills_every_cell():
    real = {"x": [1.0, None] * 10, "y": [1.0] * 20}
    found = scores((X, Y), {"x": [1.0, 2.0] * 10, "y": [1.0] * 20}, real)
    assert found[""] == pytest.approx(0.5)
    assert found["columns"] == pytest.approx(0.5)  # y, of which nothing is missing, does not water it down


def test_columns_missing_together_differ_from_columns_missing_apart():
    """Half of both is missing: together in the real rows, in the synthetic ones never in the same row."""
    odd = np.arange(40) % 2 == 1
    real = {"x": holes(range(40), odd), "y": holes(range(40), odd)}
    apart = {"x": holes(range(40), odd), "y": holes(range(40), ~odd)}
    found = scores((X, Y), apart, real)
    assert found["columns"] == 1
    assert found[""] == 0


def test_the_floor_keeps_shares_and_loses_patterns_and_dependence():
    rng = np.random.default_rng(0)
    x = rng.normal(size=2000)
    is_missing = x > 1
    rows = pa.table({"x": x, "y": holes(x, is_missing), "a": pa.array(["p"] * 2000, mask=is_missing)})
    real, other = rows.slice(0, 1000), rows.slice(1000)
    columns = (X, Y, A)
    ceiling = scores(columns, other.to_pydict(), real.to_pydict())
    floor = scores(columns, column_alone(other, rng).to_pydict(), real.to_pydict())
    assert floor["columns"] == pytest.approx(ceiling["columns"])
    assert floor[""] < ceiling[""] - 0.1
    assert floor["dependence"] < 0.3
    assert ceiling["dependence"] > 0.95


def test_dependence_is_cramers_v_beside_each_other_column():
    rng = np.random.default_rng(0)
    codes, flags = rng.integers(0, 4, 300), (rng.random((300, 2)) < 0.4).astype(np.float32)
    flags[:, 1] = codes > 1
    found = missing_dependence(
        [np.flatnonzero(column) for column in flags.T], codes, 6
    )  # two codes that only the other table has
    tables = [[np.bincount(codes[flags[:, i] == flag]) for flag in (0, 1)] for i in (0, 1)]
    assert found[0] == pytest.approx(association(np.array(tables[0]), correction=False), abs=1e-9)
    assert found[1] == pytest.approx(1)


def test_all_missing_or_none_depends_on_nothing():
    assert missing_dependence([np.arange(0), np.arange(10)], np.arange(10) % 2, 2).tolist() == [0, 0]


def test_ids_and_texts_can_be_missing_and_a_lone_column_depends_on_nothing():
    text = Column(name="text", kind="text", dtype="string", nullable=True)
    found = scores((ID, text), {"id": range(10), "text": ["w"] * 10}, {"id": range(10), "text": ["w", None] * 5})
    assert found == {"": 0.5, "columns": 0.5, "dependence": 1}


def test_nan_is_missing():
    assert scores((X, Y), {"x": [float("nan"), 1.0] * 5, "y": [1.0] * 10}, {"x": [None, 1.0] * 5, "y": [1.0] * 10}) == {
        "": 1,
        "columns": 1,
        "dependence": 1,
    }


def test_rare_patterns_count_by_how_many_columns_are_missing():
    """Twenty columns: every row has a pattern of its own, and the sides differ in how many cells a row lacks."""
    columns = tuple(Column(name=f"c{i:02d}", kind="number", dtype="double", nullable=True) for i in range(20))
    rng = np.random.default_rng(0)

    def side(missing: int) -> dict:
        flags = np.argsort(rng.random((200, 20)), axis=1) < missing
        return {column.name: holes(range(200), flags[:, i]) for i, column in enumerate(columns)}

    assert scores(columns, side(9), side(9))[""] == 1
    assert scores(columns, side(11), side(9))[""] == 0


def test_shares_of_few_real_rows_are_not_shown():
    few = RARE_ROWS - 1
    real = {"x": [None] * few + [1.0] * 36, "b": [None] * RARE_ROWS + ["s"] * (40 - RARE_ROWS)}
    found = measured_by(Missing(), (X, B), {"x": [1.0] * 40, "b": ["s"] * 40}, real)
    shown = {row["column"]: row["real"] for row in found.tables["columns"].to_pylist()}
    assert shown == {"x": 0, "b": RARE_ROWS / 40}
    assert [row["pattern"] for row in found.tables["patterns"].to_pylist()] == ["nothing missing", "others"]
    assert found.scores["columns"] == pytest.approx(1 - (few + RARE_ROWS) / 80)  # the score itself is exact


def test_long_patterns_are_cut():
    columns = tuple(Column(name=f"c{i}", kind="number", dtype="double", nullable=True) for i in range(8))
    rows = {column.name: [None] * 10 for column in columns}
    found = measured_by(Missing(), columns, rows, rows).tables["patterns"].to_pylist()
    assert found[0] == {"pattern": "c0, c1, c2, c3, c4 and 3 more", "synthetic": 1, "real": 1}
