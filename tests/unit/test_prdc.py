"""Coverage and its kin on tables, and the vectors that rows become."""

import numpy as np
import pyarrow as pa
import pytest
from support.tables import MIXED, mixed

from evaluators.diversity.prdc import Prdc
from synthmill.columns import Column, Schema
from synthmill.errors import SourceError
from synthmill.evaluator import Measured, Measurement, Reference, References
from synthmill.neighbours import Embedding

X = Column(name="x", kind="number", dtype="double", nullable=True)
LABEL = Column(name="label", kind="category", dtype="string", nullable=True)


def measurement(real: pa.Table, measured: pa.Table) -> Measurement:
    evaluator, train = Prdc(), mixed(1500, seed=9)
    references = References(MIXED, Reference(real), Reference(train), evaluator.prepare(train, MIXED, seed=0))
    return evaluator.measure(Measured(measured), references, seed=0)


def scores(real: pa.Table, measured: pa.Table) -> dict[str, float]:
    return dict(measurement(real, measured).scores)


def test_real_rows_cover_31_of_32():
    """A sphere misses all of n others with chance (1/2)^5: each of the nearest five of 2n rows must be of its own side."""
    found = scores(mixed(1500, seed=1), mixed(1500, seed=2))
    assert found[""] == pytest.approx(31 / 32, abs=0.015)
    assert found["density"] == pytest.approx(1, abs=0.08)


def test_rows_of_one_city_cover_that_city_and_are_precise():
    real, made = mixed(1500, seed=1), mixed(4000, seed=2)
    one_city = made.filter(pa.compute.equal(made["city"], "Oslo")).slice(0, 1500)
    found, whole = scores(real, one_city), scores(real, made.slice(0, 1500))
    assert found[""] == pytest.approx(whole[""] * 0.6, abs=0.05)  # three in five rows are of Oslo
    assert found["recall"] < whole["recall"] - 0.2
    assert found["precision"] > 0.98


def test_the_least_covered_ranges_are_named():
    made = mixed(4000, seed=2)
    one_city = made.filter(pa.compute.equal(made["city"], "Oslo")).slice(0, 1500)
    rows = measurement(mixed(1500, seed=1), one_city).tables["covered"].to_pylist()
    assert {(row["column"], row["range"]) for row in rows[:2]} == {("city", "Pisa"), ("city", "Riga")}
    assert [row["covered"] for row in rows] == sorted(row["covered"] for row in rows)
    assert sum(row["rows"] for row in rows if row["column"] == "city") == pytest.approx(1)
    assert all(row["rows"] * 1500 >= 20 for row in rows)


def test_shuffled_columns_are_less_precise_and_cover_less():
    real, made, rng = mixed(1500, seed=1), mixed(1500, seed=2), np.random.default_rng(0)
    shuffled = pa.table({name: made[name].take(rng.permutation(1500)) for name in made.column_names})
    found, whole = scores(real, shuffled), scores(real, made)
    assert all(found[name] < whole[name] - 0.2 for name in ("", "precision", "density"))


def vectors(fitted: dict, seen: dict) -> list[list[float]]:
    schema = Schema(columns=(X, LABEL))
    train, table = (pa.table(side, schema=schema.arrow) for side in (fitted, seen))
    return Embedding.fit(train, schema.columns)(table).tolist()


def test_a_row_becomes_standardised_amounts_and_one_hot_labels():
    fitted = {"x": [0.0, 2.0, None, None], "label": ["b", "b", "a", None]}
    seen = {"x": [4.0, None, 1.0, np.inf], "label": ["a", "b", "new", None]}
    assert vectors(fitted, seen) == [
        [3, 0, 0, 1, 0, 0],
        [0, 1, 1, 0, 0, 0],
        [0, 0, 0, 0, 1, 0],
        [1e4, 0, 0, 0, 0, 1],
    ]


def test_many_columns_of_labels_have_fewer_coordinates_each():
    columns = [Column(name=f"c{i}", kind="category", dtype="string") for i in range(200)]
    table = pa.table({c.name: [str(i) for i in range(30)] for c in columns})
    assert Embedding.fit(table, columns)(table).shape == (30, 200 * 5)  # three labels, the others, missing


def test_rare_labels_share_a_coordinate():
    names = [str(i) for i in range(60)]
    rows = vectors({"x": [0.0] * 120, "label": names + names[:50] + names[:10]}, {"x": [0.0] * 60, "label": names})
    assert {row[2:].index(1) for row in rows[50:]} == {50}
    assert len({row[2:].index(1) for row in rows[:50]}) == 50


def test_constant_and_empty_columns_become_nothing_rather_than_nan():
    rows = vectors({"x": [None, None], "label": ["a", "a"]}, {"x": [5.0, None], "label": ["a", None]})
    assert np.isfinite(rows).all()
    assert vectors({"x": [7.0, 7.0], "label": ["a", "a"]}, {"x": [7.0], "label": ["a"]}) == [[0, 0, 1, 0, 0]]


def test_ids_alone_have_no_distance():
    with pytest.raises(SourceError, match="no column to measure distances by"):
        Embedding.fit(pa.table({"id": [1]}), [Column(name="id", kind="id", dtype="int64")])
