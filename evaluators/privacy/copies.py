"""How many synthetic rows are train rows, cell by cell or all but for a rounding?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from synthmill.columns import Column, Modality, Schema
from synthmill.errors import SourceError
from synthmill.evaluator import Direction, Evaluator, Measured, Measurement, References
from synthmill.features import amounts
from synthmill.neighbours import NOISE, quarters
from synthmill.rows import row_hashes
from synthmill.shares import wilson

if TYPE_CHECKING:
    from scipy.spatial import cKDTree

_APART = 4.0  # any distance above 1: between labels, and from a missing amount to a known one
_ROUNDING = 1e-6  # of half a resolution: what the arithmetic of a row that lies on the very edge may add
_OF_ONE = 1e-6  # of an amount, or of 1 where that is more: half a resolution of a column that has no other amount

Hashes = NDArray[np.void]
Coordinates = NDArray[np.float64]


class Copies(Evaluator):
    """The share of rows that equal a train row in every column but the ids: 0 is none, 1 is all.

    `near` is the share of rows for which there is one train row with the same labels, and with every amount within half of that
    column's resolution; exact copies are near ones. A column's resolution is the median gap between neighbouring distinct amounts of
    train. Where the amounts fill a grid that is the grid's step (1 for ages, a hundredth for prices, a day for dates), so that a near
    copy is one before rounding; elsewhere it is the distance at which train itself tells two amounts apart. Where train has one amount
    alone, half of it is a millionth of that amount, and at least of 1: an offset there hides no copy. A missing cell is near a
    missing cell only.

    Standard as the identical match share (SDMetrics' NewRowSynthesis counts its complement, with 1 % of an amount for near). Of real
    rows too some equal a train row by chance (22 % where columns are few and coarse), so the ceiling, the same share of holdout A, is the
    value to compare with: gate it by `at_most: 1.0, of: ceiling`, which is missed where the whole interval of the difference lies above
    0. There is no floor. Intervals are Wilson's (1927), so that no copy in n rows still leaves room for a share of 3.84 / n. What n
    rows a side can show is an excess over the ceiling c of about 3 sqrt(2 c / n), and 5 rows where c is 0: a few copies among rows
    that are often equal by chance go unseen. It misleads where a column alone is re-drawn: such a row is no copy here; see privacy/dcr.
    """

    modality: ClassVar[Modality] = "table"
    version: ClassVar[int] = 3
    scores: ClassVar[Mapping[str, Direction]] = {"": "lower", "near": "lower"}
    remedy: ClassVar[str] = (
        "Set accept.copies_of_train to reject. Where near copies stay, the generator overfits: fewer steps, a"
        " smaller network, or more train rows."
    )
    against: ClassVar[Literal["holdout", "train"]] = "train"
    has_floor: ClassVar[bool] = False
    replicates: ClassVar[int] = 0  # shares of rows: Wilson's interval

    def prepare(self, train: pa.Table, schema: Schema, *, seed: int) -> _Known:
        """All train rows as sorted hashes, and as points of a search tree; `seed` is not used."""
        from scipy.spatial import cKDTree

        compared = [column for column in schema if column.kind != "id"]
        if not compared:
            raise SourceError("no column can be copied: all are ids", hint="leave privacy/copies out of the recipe")
        columns = tuple(_Amount.fit(c.name, train) if _is_amount(c) else _Label.fit(c.name, train) for c in compared)
        distinct = np.unique(_coordinates(train, columns), axis=0)  # a tree cannot split equal points
        return _Known(np.unique(_hashes(train, columns)), columns, cKDTree(distinct))

    def measure(self, measured: Measured, references: References, *, seed: int) -> Measurement:
        """Exact but for collisions of 128 bits; `seed` is not used. Reads the train rows as what `prepare` made of them."""
        known = references.features
        assert isinstance(known, _Known), "measure needs what prepare returned"
        is_copy = np.isin(_hashes(measured.table, known.columns), known.hashes)
        is_near = is_copy | known.has_near(_coordinates(measured.table, known.columns))
        counts = {"": int(is_copy.sum()), "near": int(is_near.sum())}
        rows = measured.table.num_rows
        return Measurement(
            {name: count / rows for name, count in counts.items()},
            intervals={name: wilson(count, rows) for name, count in counts.items()},
        )


def resolution(values: NDArray[np.float64]) -> float:
    """The median gap between neighbouring distinct values, all finite; 0 where there is one value alone."""
    distinct = np.unique(values)
    gaps = np.diff(distinct)
    gaps = gaps[gaps > NOISE * np.spacing(np.abs(distinct).max())]
    return float(np.median(gaps)) if len(gaps) else 0.0


@dataclass(frozen=True, slots=True)
class _Amount:
    """A column of amounts in units of half its resolution, counted from train's lowest; all three in quarters, which do not overflow."""

    name: str
    low: float
    high: float
    half: float

    @classmethod
    def fit(cls, name: str, train: pa.Table) -> _Amount:
        known = quarters(amounts(train[name]))
        if not len(known):
            return cls(name, 0.0, 0.0, 1.0)
        low, high = float(known.min()), float(known.max())
        return cls(name, low, high, resolution(known) / 2 or _OF_ONE * max(abs(low), 1 / 4))

    def coordinates(self, cells: pa.ChunkedArray) -> Coordinates:
        """Near amounts differ by at most 1. What lies far beyond train's range is put just out of its reach, what is missing further."""
        with np.errstate(over="ignore"):
            scaled, highest = (amounts(cells) / 4 - self.low) / self.half, (self.high - self.low) / self.half
        return np.nan_to_num(np.clip(scaled, -_APART, highest + _APART), nan=-3 * _APART)


@dataclass(frozen=True, slots=True)
class _Label:
    """A column of labels, each at a coordinate of its own; missing is a label."""

    name: str
    values: pa.Array

    @classmethod
    def fit(cls, name: str, train: pa.Table) -> _Label:
        return cls(name, pc.unique(train[name]))

    def coordinates(self, cells: pa.ChunkedArray) -> Coordinates:
        """All labels that train does not have lie at one place below those that it has."""
        codes = pc.fill_null(pc.index_in(cells, value_set=self.values), -1)
        return np.asarray(codes.to_numpy(), dtype=np.float64) * _APART


@dataclass(frozen=True, slots=True)
class _Known:
    """Train: sorted hashes of its rows, how its columns become coordinates, and a tree of the distinct rows' coordinates."""

    hashes: Hashes
    columns: tuple[_Amount | _Label, ...]
    tree: cKDTree

    def has_near(self, rows: Coordinates) -> NDArray[np.bool_]:
        """Is there a train row no coordinate of which is further off than 1? Shape (rows,)."""
        distance, _ = self.tree.query(rows, p=np.inf, distance_upper_bound=1 + _ROUNDING)
        return np.asarray(distance) < np.inf


def _is_amount(column: Column) -> bool:
    return column.kind in ("number", "integer", "date", "datetime", "time")


def _coordinates(table: pa.Table, columns: tuple[_Amount | _Label, ...]) -> Coordinates:
    """One coordinate a column, shape (rows, columns); two rows are near where none differs by more than 1."""
    return np.stack([column.coordinates(table[column.name]) for column in columns], axis=1)


def _hashes(table: pa.Table, columns: tuple[_Amount | _Label, ...]) -> Hashes:
    """One sortable value of 128 bits a row; shape (rows,)."""
    lanes = row_hashes(table, [column.name for column in columns])
    return np.ascontiguousarray(lanes).view([("first", np.uint64), ("second", np.uint64)]).ravel()
