"""Nearest neighbours against all pairs compared one by one."""

import numpy as np
import pyarrow as pa
import pytest
from support.tables import MIXED, mixed

from synthmill.columns import Column, Schema
from synthmill.errors import SourceError
from synthmill.features import amounts
from synthmill.neighbours import Space, nearest
from synthmill.neighbours import mixed as blocks

COLUMNS = MIXED.columns


def difference(metric, column, x, y, scale):
    """Of two cells, as the definition says it; `scale` is (mean, spread) of train."""
    if x is None or y is None:
        if metric == "l1" and not column.is_discrete and (x is None) != (y is None):
            return 1 + abs((y if x is None else x) - scale[0]) / scale[1]
        return float((x is None) != (y is None))
    if column.is_discrete:
        return float(x != y)
    apart = abs(x - y) / scale[1]
    return min(apart, 1) if metric == "gower" else apart


def cells(table, column):
    if column.is_discrete:
        return table[column.name].to_pylist()
    return [None if np.isnan(x) else x for x in amounts(table[column.name])]


def all_pairs(metric, queries, points, train):
    distances = np.zeros((queries.num_rows, points.num_rows))
    for column in COLUMNS:
        scale = None
        if not column.is_discrete:
            known = amounts(train[column.name])
            known = known[~np.isnan(known)]
            scale = (known.mean(), known.std() if metric == "l1" else np.ptp(known))
        distances += [
            [difference(metric, column, x, y, scale) for y in cells(points, column)] for x in cells(queries, column)
        ]
    return distances / len(COLUMNS)


@pytest.mark.parametrize("metric", ["gower", "l1"])
@pytest.mark.parametrize("k", [1, 3])
def test_nearest_is_what_all_pairs_say(metric, k, monkeypatch):
    monkeypatch.setattr(blocks, "_QUERIES", 7)  # so that rows lie in many blocks, the last ones cut short
    monkeypatch.setattr(blocks, "_POINTS", 11)
    train, queries, points = mixed(50, seed=0), mixed(40, seed=1), mixed(60, seed=2)
    space = Space.fit(metric, COLUMNS, train, queries, points)
    found = nearest(space.encode(queries), space.encode(points), k)
    expected = all_pairs(metric, queries, points, train)
    assert found.distances == pytest.approx(np.sort(expected, axis=1)[:, :k], abs=1e-6)
    assert np.take_along_axis(expected, found.indices, axis=1) == pytest.approx(found.distances, abs=1e-6)


def test_a_row_is_no_neighbour_of_itself_where_that_is_asked(monkeypatch):
    monkeypatch.setattr(blocks, "_POINTS", 16)
    table = mixed(50)
    space = Space.fit("gower", COLUMNS, table)
    rows = space.encode(table)
    with_self, without = nearest(rows, rows, 2), nearest(rows, rows, 1, exclude="self")
    assert (with_self.indices[:, 0] == np.arange(50)).all()
    assert (with_self.distances[:, 0] == 0).all()
    assert (without.indices == with_self.indices[:, 1:]).all()
    assert (without.distances == with_self.distances[:, 1:]).all()


def test_of_equally_near_points_the_first_is_found(monkeypatch):
    monkeypatch.setattr(blocks, "_POINTS", 4)
    column = Column(name="label", kind="category", dtype="string")
    points = pa.table({"label": ["b", "a", "b", "a", "a", "a", "b"]})
    space = Space.fit("gower", [column], points)
    found = nearest(space.encode(pa.table({"label": ["a", "b"]})), space.encode(points), 4)
    assert found.indices.tolist() == [[1, 3, 4, 5], [0, 2, 6, 1]]
    assert found.distances.tolist() == [[0, 0, 0, 0], [0, 0, 0, 1]]


def test_unseen_labels_constant_columns_and_amounts_out_of_range():
    schema = Schema(
        columns=(
            Column(name="label", kind="category", dtype="string"),
            Column(name="constant", kind="number", dtype="double"),
            Column(name="x", kind="number", dtype="double"),
        )
    )
    train = pa.table({"label": ["a", "b"], "constant": [5.0, 5.0], "x": [0.0, 2.0]}, schema=schema.arrow)
    rows = {"label": ["new", None, "a", "a"], "constant": [5.0, 5.0, 6.0, None], "x": [0.5, 0.0, -9.0, np.inf]}
    space = Space.fit("gower", schema.columns, train)
    found = nearest(space.encode(pa.table(rows, schema=schema.arrow)), space.encode(train), 1)
    assert found.distances[:, 0] * 3 == pytest.approx([1.25, 1, 1, 2])


def test_a_label_never_seen_is_not_a_missing_one():
    column = Column(name="label", kind="category", dtype="string")
    points = pa.table({"label": pa.array([None, None], pa.string())})
    space = Space.fit("gower", [column], points)
    queries = space.encode(pa.table({"label": ["new", None]}))
    assert nearest(queries, space.encode(points), 1).distances.tolist() == [[1], [0]]


def test_in_l1_too_a_constant_column_weighs_nothing_but_where_it_is_missing():
    column = Column(name="x", kind="number", dtype="double")
    train, other = pa.table({"x": [5.0, 5.0]}), pa.table({"x": [7.0, 5.0, None]})
    space = Space.fit("l1", [column], train)
    assert nearest(space.encode(other), space.encode(train), 1).distances.tolist() == [[0], [0], [1]]


def test_300_columns_of_labels_are_counted():
    """More than one byte holds."""
    columns = [Column(name=f"c{i}", kind="boolean", dtype="bool") for i in range(300)]
    train = pa.table({c.name: [True] for c in columns})
    space = Space.fit("gower", columns, train)
    opposite = space.encode(pa.table({c.name: [i < 10] for i, c in enumerate(columns)}))
    assert nearest(opposite, space.encode(train), 1).distances.item() == pytest.approx(290 / 300)


def test_more_labels_than_a_byte_holds():
    column = Column(name="label", kind="category", dtype="string")
    table = pa.table({"label": [str(i) for i in range(600)]})
    rows = Space.fit("gower", [column], table).encode(table)
    assert (nearest(rows, rows, 1).indices[:, 0] == np.arange(600)).all()


def test_what_cannot_be_asked_is_refused():
    column, table = Column(name="x", kind="number", dtype="double"), pa.table({"x": [0.0, 1.0]})
    space, other = Space.fit("l1", [column], table), Space.fit("l1", [column], table)
    rows = space.encode(table)
    with pytest.raises(ValueError, match="same Space"):
        nearest(rows, other.encode(table), 1)
    with pytest.raises(ValueError, match="only 2 points"):
        nearest(rows, rows, 2, exclude="self")
    with pytest.raises(SourceError, match="no column to measure distances by"):
        Space.fit("l1", [Column(name="id", kind="id", dtype="int64")], pa.table({"id": [1]}))
