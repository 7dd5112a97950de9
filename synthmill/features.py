"""Tables as numbers for tree models: two tables encoded jointly, so that one value has one code on both sides."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from synthmill.columns import Column

_LARGEST = float(np.finfo(np.float32).max)
_CALENDAR = ("0001-01-01T00:00", "9999-12-31T23:59")
_WITHOUT_INFORMATION = ("id", "text", "image")


@dataclass(frozen=True, slots=True)
class Encoded:
    """`rows` is (rows, columns) float32 with NaN for missing; `kinds` names each column q (an amount) or c (codes), as XGBoost does."""

    rows: tuple[NDArray[np.float32], ...]
    kinds: tuple[str, ...]


def measurable(columns: Sequence[Column]) -> list[Column]:
    """The columns whose values can be compared: ids are made anew and carry nothing; text and images have evaluators of their own."""
    return [column for column in columns if column.kind not in _WITHOUT_INFORMATION]


def encode_jointly(tables: Sequence[pa.Table], columns: Sequence[Column]) -> Encoded:
    """Each table as a matrix: amounts, dates and times as numbers, labels as codes of their sorted union, missing as NaN."""
    encoded = [_codes(tables, c.name) if c.is_discrete else _amounts(tables, c.name) for c in columns]
    rows = tuple(np.stack(side, axis=1) for side in zip(*encoded, strict=True))
    return Encoded(rows, tuple("c" if column.is_discrete else "q" for column in columns))


def amounts(values: pa.ChunkedArray) -> NDArray[np.float64]:
    """Numbers as they are, dates in days, times in microseconds; missing cells and NaN as NaN; shape (rows,)."""
    if pa.types.is_temporal(values.type):
        values = values.cast(pa.int32() if values.type.bit_width == 32 else pa.int64())
    return np.asarray(values.cast(pa.float64(), safe=False).to_numpy(), dtype=np.float64)


def within_calendar(values: NDArray[np.float64], dtype: pa.DataType) -> NDArray[np.float64]:
    """Dates or times, as `amounts` reads them, cut to the years 1 to 9999, which is what calendars can write."""
    ends = np.array(_CALENDAR, "datetime64[D]" if dtype.bit_width == 32 else "datetime64[us]")
    first, last = ends.astype(np.int64).astype(np.float64)
    return np.clip(values, first, last)


def _amounts(tables: Sequence[pa.Table], name: str) -> list[NDArray[np.float32]]:
    """Centred on the joint median, because XGBoost reads float32 and a time of today has no room for its seconds there."""
    sides = [amounts(table[name]) for table in tables]
    known = np.concatenate(sides)
    known = known[np.isfinite(known)]
    centre = np.median(known) if len(known) else 0.0
    return [np.clip(side - centre, -_LARGEST, _LARGEST).astype(np.float32) for side in sides]


def _codes(tables: Sequence[pa.Table], name: str) -> list[NDArray[np.float32]]:
    labels = pa.concat_arrays(
        [chunk for table in tables for chunk in table[name].chunks] or [pa.nulls(0, tables[0][name].type)]
    )
    union = pc.drop_null(pc.unique(labels))
    union = union.take(pc.array_sort_indices(union))
    codes = [pc.index_in(table[name], value_set=union) for table in tables]
    return [np.asarray(code.to_numpy(), dtype=np.float32) for code in codes]
