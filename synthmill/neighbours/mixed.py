"""Nearest rows of tables of numbers and labels: every pair is compared, in blocks that fit a core's cache.

On mixed columns that beats search trees, which lose their bounds where most columns are labels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from synthmill.columns import Column
from synthmill.errors import SourceError
from synthmill.features import amounts, measurable
from synthmill.neighbours.best import Neighbours, Shortlist
from synthmill.neighbours.scale import Scale

Metric = Literal["gower", "l1"]
Codes = NDArray[np.unsignedinteger]

_QUERIES, _POINTS = 64, 2048  # a block: its four arrays take 1.3 MB, about the second-level cache of a core
_FURTHEST = {"gower": 1e30, "l1": 1e4}  # units; further off, single precision would blur what other columns add to `l1`
_MISSING = np.float32(3e38)  # further from every known amount than any two of those are from each other


@dataclass(frozen=True, slots=True)
class Space:
    """How cells become coordinates. Both metrics are means over columns of what two cells differ by.

    `gower` (Gower, Biometrics 1971, as the distance to the closest record of SDMetrics takes it): amounts differ by |x - y| / range of
    train, at most 1; labels by 0 or 1; a missing cell by 0 from a missing one and by 1 from any other.
    `l1` (the field's L1 on encoded data): amounts differ by |x - y| / standard deviation over train, up to 10,000; labels by 0 or 1;
    a missing amount is train's mean, and differs by a further 1 from a known one.
    Of a column with one amount in train all known amounts count as equal: any jitter there would hide how close the rest of a row is.
    """

    metric: Metric
    columns: tuple[_Amount | _Label, ...]

    @classmethod
    def fit(cls, metric: Metric, columns: Sequence[Column], train: pa.Table, *others: pa.Table) -> Space:
        """Ranges and spreads are train's. Labels are those of all tables given: any two that no table holds count as equal.

        Ids, text and images are left out. Raises SourceError where nothing is left.
        """
        tables = (train, *others)
        return cls(
            metric,
            tuple(
                _Label.fit(c.name, tables) if c.is_discrete else _Amount.fit(c.name, metric, train)
                for c in comparable(columns)
            ),
        )

    def encode(self, table: pa.Table) -> Points:
        """The rows as coordinates; `table` needs the columns that the space was fitted on."""
        numbers, labels = [], []
        for column in self.columns:
            cells = table[column.name]
            if isinstance(column, _Label):
                labels.append(column.codes(cells))
                continue
            scaled = column.scaled(cells)
            is_missing = np.isnan(scaled)
            numbers.append(np.where(is_missing, _MISSING if self.metric == "gower" else 0, scaled).astype(np.float32))
            if self.metric == "l1":
                labels.append(is_missing.astype(np.uint8))
        return Points(self, tuple(numbers), tuple(labels), table.num_rows)


@dataclass(frozen=True, slots=True)
class Points:
    """Rows of one table in a space, column by column: `amounts` are float32 (rows,), `labels` unsigned codes (rows,)."""

    space: Space
    amounts: tuple[NDArray[np.float32], ...]
    labels: tuple[Codes, ...]
    rows: int

    def take(self, indices: NDArray[np.int64]) -> Points:
        """Some of the rows, in the order of `indices`."""
        return Points(
            self.space, tuple(a[indices] for a in self.amounts), tuple(c[indices] for c in self.labels), len(indices)
        )


def nearest(queries: Points, points: Points, k: int, *, exclude: Literal["self"] | None = None) -> Neighbours:
    """The k nearest points of each query, distances good to 1e-6.

    `exclude="self"`: query i never finds point i (`queries` are `points`).
    """
    if queries.space is not points.space:
        raise ValueError("queries and points must be encoded by one and the same Space")
    if points.rows - (exclude is not None) < k:
        raise ValueError(f"{k} neighbours asked for, and only {points.rows} points to find them among")
    own = None if exclude is None else np.arange(queries.rows)
    best, blocks = Shortlist(queries.rows, k), _Blocks.of(queries, points)
    for top in range(0, queries.rows, _QUERIES):
        for left in range(0, points.rows, _POINTS):
            best.admit(blocks.sums_at(top, left), top, left, own)
    return Neighbours(best.distances / len(points.space.columns), best.indices)


def comparable(columns: Sequence[Column]) -> list[Column]:
    """The columns that distances are measured by. Raises SourceError where there is none."""
    kept = measurable(columns)
    if not kept:
        raise SourceError(
            "no column to measure distances by: all are ids, text or images",
            hint="leave the scores that compare rows by distance out",
        )
    return kept


@dataclass(frozen=True, slots=True)
class _Amount:
    name: str
    scale: Scale
    furthest: float

    @classmethod
    def fit(cls, name: str, metric: Metric, train: pa.Table) -> _Amount:
        fitted = Scale.of_range if metric == "gower" else Scale.of_deviation
        return cls(name, fitted(amounts(train[name])), _FURTHEST[metric])

    def scaled(self, cells: pa.ChunkedArray) -> NDArray[np.float64]:
        """In units of the scale, missing as NaN; shape (rows,)."""
        return self.scale(amounts(cells), self.furthest)


@dataclass(frozen=True, slots=True)
class _Label:
    name: str
    values: pa.Array

    @classmethod
    def fit(cls, name: str, tables: Sequence[pa.Table]) -> _Label:
        chunks = [chunk for table in tables for chunk in table[name].chunks]
        return cls(name, pc.drop_null(pc.unique(pa.chunked_array(chunks, tables[0][name].type))))

    def codes(self, cells: pa.ChunkedArray) -> Codes:
        """The place among the known labels; after those, one code for missing and one for labels never seen. Shape (rows,)."""
        places = pc.index_in(cells, value_set=self.values)
        missing, unseen = len(self.values), len(self.values) + 1
        codes = pc.if_else(pc.is_null(cells), missing, pc.fill_null(places, unseen))
        return np.asarray(codes.to_numpy(), dtype=np.min_scalar_type(unseen))


@dataclass(frozen=True, slots=True)
class _Blocks:
    """The sums of differences of some queries (rows of a block) and some points (its columns), in memory that every block shares."""

    queries: Points
    points: Points
    exceeds_one: tuple[bool, ...]  # amounts of which some pair differs by more than 1, so that `gower` has to cut
    sums: NDArray[np.float32]
    term: NDArray[np.float32]
    count: Codes
    differs: NDArray[np.bool_]

    @classmethod
    def of(cls, queries: Points, points: Points) -> _Blocks:
        shape = (min(_QUERIES, queries.rows), min(_POINTS, points.rows))
        pairs = zip(queries.amounts, points.amounts, strict=True)
        return cls(
            queries,
            points,
            tuple(points.space.metric == "gower" and _ends_apart(*pair) for pair in pairs),
            sums=np.empty(shape, np.float32),
            term=np.empty(shape, np.float32),
            count=np.empty(shape, np.min_scalar_type(len(points.labels))),
            differs=np.empty(shape, np.bool_),
        )

    def sums_at(self, top: int, left: int) -> NDArray[np.float32]:
        """Of the block that begins at query `top` and point `left`; valid until the next call. Shape (queries, points)."""
        rows, columns = slice(top, top + _QUERIES), slice(left, left + _POINTS)
        part = np.s_[: self.queries.rows - top, : self.points.rows - left]
        sums, term, count, differs = self.sums[part], self.term[part], self.count[part], self.differs[part]
        count.fill(0)
        for a, b in zip(self.queries.labels, self.points.labels, strict=True):
            np.not_equal(a[rows, None], b[columns], out=differs)
            np.add(count, differs.view(np.uint8), out=count)
        np.copyto(sums, count)
        for x, y, exceeds_one in zip(self.queries.amounts, self.points.amounts, self.exceeds_one, strict=True):
            np.subtract(x[rows, None], y[columns], out=term)
            np.abs(term, out=term)
            if exceeds_one:
                np.minimum(term, 1, out=term)
            np.add(sums, term, out=sums)
        return sums


def _ends_apart(x: NDArray[np.float32], y: NDArray[np.float32]) -> bool:
    """Some two values of x and y may differ by more than 1."""
    return bool(np.ptp(np.concatenate([x, y])) > 1)
