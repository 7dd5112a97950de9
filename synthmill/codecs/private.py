"""A TableCodec for differentially private fits: labels and bounds are the recipe's, and what is learnt of numbers is learnt with noise.

`ask` counts train rows in the cells of a grid, from coarse to fine, and looks into a cell only where many rows seem to be (the idea of
PrivTree: Zhang, Xiao and Xie, SIGMOD 2016). A cell that holds a single number and many rows is an atom; the others make the map to normal
scores. A row falls into one cell a level, so that all counts together are one Gaussian release of the L2 sensitivity `sensitivity`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from scipy.special import ndtri

from synthmill.codecs.cells import plain, storage
from synthmill.codecs.ids import IdColumn
from synthmill.codecs.numbers import FEW, NumberColumn, Numbers
from synthmill.codecs.quantiles import QuantileMap
from synthmill.codecs.table import ColumnCodec, LabelColumn, TableCodec
from synthmill.columns import Column, Schema
from synthmill.domains import labels, limits

_LEVELS = 4
_BRANCHES = 16  # of a cell, more where the grid is fine
_MOST_CELLS = 2**22
_SURE = 4.0  # standard deviations of the noise that a count must have to be believed
_ATOM_SHARE = 0.02  # of the rows, as in numbers.py
_PARTS = 64  # a cell of less than this share of the rows is fine enough
_SMALLEST = 1e-5  # share of a column's rows in a cell, so that the map ascends
_TAIL = 1e-3  # the share of a column's rows beyond its outermost knots

Counts = NDArray[np.float64]
Noisy = Callable[[str, Counts], Counts]
"""The name of a question and exact counts -> the counts with fresh Gaussian noise."""


@dataclass(frozen=True, slots=True)
class Grid:
    """A number column's cells: `units` of the width `unit` from `lowest` on; `is_exact` where each holds a single number."""

    column: Column
    lowest: float | int
    highest: float | int
    unit: float
    units: int
    is_exact: bool

    @classmethod
    def of(cls, column: Column) -> Grid:
        """By the recipe alone."""
        ends = limits(column)
        assert ends is not None, "a private plan has a domain for each column"
        lowest, highest = storage(column, ends).to_pylist()
        decimals = None if column.domain is None else column.domain.decimals
        smallest = 1 if isinstance(lowest, int) else 0 if decimals is None else 10.0**-decimals
        units = round((highest - lowest) / smallest) + 1 if smallest else math.inf
        if units <= _MOST_CELLS:
            return cls(column, lowest, highest, smallest, int(units), is_exact=True)
        return cls(column, lowest, highest, (highest - lowest) / _MOST_CELLS, _MOST_CELLS, is_exact=False)

    @property
    def is_few(self) -> bool:
        """So few numbers that each is an atom, and nothing has to be asked."""
        return self.is_exact and self.units <= FEW

    @property
    def branches(self) -> int:
        """How many cells a cell of the level before has."""
        branches = _BRANCHES
        while branches**_LEVELS < self.units:
            branches += 1
        return branches

    @property
    def widths(self) -> list[int]:
        """Units in a cell of each level, down to one."""
        levels = math.ceil(math.log(self.units) / math.log(self.branches) - 1e-9)
        return [self.branches**level for level in reversed(range(levels))]

    def cells(self, numbers: Numbers) -> NDArray[np.int64]:
        """The unit of each number."""
        units: NDArray[np.float64] = np.floor((numbers - self.lowest) / self.unit + (0.5 if self.is_exact else 0.0))
        return units.astype(np.int64).clip(0, self.units - 1)


@dataclass(frozen=True, slots=True)
class Answers:
    """What is known of train: a noisy number of rows, and by column the cells (first unit, units, noisy rows), in order."""

    rows: float
    cells: Mapping[str, tuple[tuple[int, int, float], ...]]


def sensitivity(schema: Schema) -> float:
    """By how much one row can move all counts of `ask` together, in the L2 norm."""
    return math.sqrt(1 + sum(len(grid.widths) for grid in _asked(schema)))


def ask(table: pa.Table, schema: Schema, noisy: Noisy, deviation: float) -> Answers:
    """Count rows; `noisy` adds noise of the standard deviation `deviation` to each count."""
    rows = noisy("rows", np.array([float(table.num_rows)])).item()
    return Answers(rows, {grid.column.name: _cells(grid, table, rows, noisy, deviation) for grid in _asked(schema)})


def _asked(schema: Schema) -> list[Grid]:
    grids = [Grid.of(column) for column in schema if column.domain is not None and column.domain.bounds is not None]
    return [grid for grid in grids if not grid.is_few]


def _cells(
    grid: Grid, table: pa.Table, rows: float, noisy: Noisy, deviation: float
) -> tuple[tuple[int, int, float], ...]:
    """Cells of different widths that cover the column; a cell of many rows is divided until its cells have few, or one number."""
    cells = plain(grid.column, table[grid.column.name])
    units = grid.cells(storage(grid.column, cells.drop_null()).to_numpy(zero_copy_only=False))
    many = max(_SURE * deviation, rows / _PARTS)
    open_cells, found = [0], []
    for level, width in enumerate(grid.widths):
        if not open_cells:
            break
        starts = np.concatenate([start + width * np.arange(grid.branches) for start in open_cells])
        starts = starts[starts < grid.units]
        exact = np.bincount(units // width, minlength=-(-grid.units // width))[starts // width].astype(np.float64)
        counts = noisy(f"{grid.column.name}/{level}", exact)
        is_open = (counts > many) & (width > 1)
        open_cells = starts[is_open].tolist()
        ends = np.minimum(starts + width, grid.units)
        found += [(s, e - s, n) for s, e, n in zip(starts[~is_open], ends[~is_open], counts[~is_open], strict=True)]
    return tuple(sorted((int(start), int(length), float(count)) for start, length, count in found))


def make_codec(schema: Schema, answers: Answers, deviation: float) -> TableCodec:
    """The codec of the recipe and of the answers, without a look at train."""
    return TableCodec(schema, tuple(_column(column, answers, deviation) for column in schema))


def _column(column: Column, answers: Answers, deviation: float) -> ColumnCodec:
    if column.kind == "id":
        return IdColumn.fit(column, pa.array([], column.arrow))
    if (known := labels(column)) is not None:
        return LabelColumn(column, pa.concat_arrays([known, pa.nulls(int(column.nullable), known.type)]))
    grid = Grid.of(column)
    if grid.is_few:
        return _few(grid)
    return _many(grid, answers, deviation)


def _few(grid: Grid) -> NumberColumn:
    """Every number an atom."""
    scores = np.linspace(-2.0, 2.0, grid.units)
    return _number_column(grid, np.arange(grid.units), np.arange(grid.units), scores)


def _many(grid: Grid, answers: Answers, deviation: float) -> NumberColumn:
    cells = answers.cells[grid.column.name]
    is_atom = [
        grid.is_exact and length == 1 and count > max(_SURE * deviation, _ATOM_SHARE * answers.rows)
        for _, length, count in cells
    ]
    atoms = [start for (start, _, _), atom in zip(cells, is_atom, strict=True) if atom]
    ends, masses = [0.0], [0.0]
    for (start, length, count), atom in zip(cells, is_atom, strict=True):
        if masses[-1] >= deviation:  # else too few to tell from noise: joined
            ends.append(ends[-1])
            masses.append(0.0)
        ends[-1], masses[-1] = float(start + length), masses[-1] + (0.0 if atom else max(count, 0.0))
    shares = (np.array(masses) + _SMALLEST * sum(masses) + 1e-9).cumsum()
    ranks = _TAIL + (1 - 2 * _TAIL) * np.concatenate([[0.0], shares / shares[-1]])
    return _number_column(grid, np.array(atoms, np.int64), np.array([0.0, *ends]), ndtri(ranks))


def _number_column(
    grid: Grid, atoms: NDArray[np.int64], ends: NDArray[np.number], scores: NDArray[np.float64]
) -> NumberColumn:
    """`atoms` and `ends` of cells in units; a unit of an exact grid has its number in the middle."""
    is_whole = isinstance(grid.lowest, int)
    decimals = grid.column.domain.decimals if grid.column.domain else None
    numbers = grid.lowest + (atoms if is_whole else np.round(atoms * grid.unit, decimals or 0))
    offsets = ends - 0.5 if grid.is_exact and not grid.is_few else ends
    return NumberColumn(
        column=grid.column,
        atoms=np.asarray(numbers, dtype=np.int64 if is_whole else np.float64),
        lowest=grid.lowest,
        highest=grid.highest,
        step=1 if is_whole else -1 if decimals is None else decimals,
        quantiles=QuantileMap(
            np.asarray(offsets * (1 if is_whole and grid.is_exact else grid.unit), dtype=np.float64),
            np.asarray(scores, dtype=np.float64),
        ),
        is_few=grid.is_few,
        has_missing=grid.column.nullable,
    )
