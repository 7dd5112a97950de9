"""Which columns are distributed otherwise than they were, and which differ by chance alone.

Measured on a sample of rows, the same of both sides where they share rows: those whose `_row_id`, a hash, is lowest. So memory is flat.

The chance: two samples of sizes m and n, of which c rows are in both, differ as if of one population by a noise of variance
1/m + 1/n - 2c/(mn). Kolmogorov's distribution bounds KS; for TVD the mean is half the sum of the means of |normal|, and McDiarmid
(1989) bounds the rest. With 1 % of error over all columns of a table together.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds

from synthmill.columns import Column
from synthmill.diff.parts import Shift, Shifts
from synthmill.diff.rows import Files
from synthmill.features import measurable
from synthmill.shapes import distance, label_shares

SAMPLE_ROWS = 100_000
_ERROR = 0.01  # of calling any column shifted where none is
_ID = "_row_id"


@dataclass(frozen=True, slots=True)
class Samples:
    """Rows of both sides with their ids, of the columns that can be compared."""

    then: pa.Table
    now: pa.Table
    columns: tuple[Column, ...]


def draw_samples(then: Files, now: Files, columns: Sequence[Column]) -> Samples:
    """Of `columns`, which both sides have with one kind and one type."""
    compared = tuple(measurable(columns))
    names = [column.name for column in compared]
    return Samples(_sample(then, names), _sample(now, names), compared)


def find_shifts(samples: Samples, others: Iterable[Column]) -> Shifts:
    """Shifted columns first, then by distance. `others` are all columns of which the samples may lack some."""
    error = _ERROR / max(1, len(samples.columns))
    shifts = [_shift(samples, column, error) for column in samples.columns] if _have_rows(samples) else []
    return Shifts(
        rows_then=samples.then.num_rows,
        rows_now=samples.now.num_rows,
        columns=tuple(sorted(shifts, key=lambda one: (not one.is_shift, -one.distance, one.column))),
        not_compared={column.name: column.kind for column in others if column not in samples.columns},
    )


def _have_rows(samples: Samples) -> bool:
    return bool(samples.then.num_rows and samples.now.num_rows)


def _sample(files: Files, names: list[str]) -> pa.Table:
    """Rows with the lowest ids, about SAMPLE_ROWS; all where there are no more."""
    data = ds.dataset([str(path) for path in files.values()], format="parquet")
    share = SAMPLE_ROWS / max(1, data.count_rows())
    lowest = None if share >= 1 else ds.field(_ID) < f"{int(share * 2**32):08x}"
    return data.to_table(columns=[*names, _ID], filter=lowest)


def _shift(samples: Samples, column: Column, error: float) -> Shift:
    then, now = samples.then[column.name], samples.now[column.name]
    apart = distance(then, now, column)
    chance = min(1.0, _by_chance(then, now, column, _noise(samples, column), error))
    return Shift(
        column=column.name,
        kind=column.kind,
        measure="TVD" if column.is_discrete else "KS",
        distance=round(apart, 6),
        by_chance=round(chance, 6),
        is_shift=apart > chance,
        missing_then=round(then.null_count / len(then), 6),
        missing_now=round(now.null_count / len(now), 6),
    )


def _noise(samples: Samples, column: Column) -> float:
    m, n = samples.then.num_rows, samples.now.num_rows
    variance = 1 / m + 1 / n - 2 * _kept(samples, column) / (m * n)
    return math.sqrt(max(0.0, variance))


def _kept(samples: Samples, column: Column) -> int:
    """Rows of both samples whose cell is the same, missing ones included."""
    places = pc.index_in(samples.now[_ID], value_set=samples.then[_ID].combine_chunks())
    is_shared = pc.is_valid(places)
    now = samples.now[column.name].filter(is_shared)
    then = samples.then[column.name].take(places.filter(is_shared))
    same = pc.fill_null(pc.equal(then, now), False)
    both_missing = pc.and_(pc.is_null(then), pc.is_null(now))
    return int(pc.sum(pc.or_(same, both_missing)).as_py() or 0)


def _by_chance(then: pa.ChunkedArray, now: pa.ChunkedArray, column: Column, noise: float, error: float) -> float:
    """What the distance stays below by chance, but for `error`."""
    if not column.is_discrete:
        return noise * math.sqrt(math.log(2 / error) / 2)
    shares = label_shares(pa.chunked_array([*then.chunks, *now.chunks], type=then.type)).values()
    mean = 0.5 * sum(math.sqrt(2 / math.pi * share * (1 - share)) for share in shares)
    return noise * (mean + math.sqrt(math.log(1 / error) / 2))
