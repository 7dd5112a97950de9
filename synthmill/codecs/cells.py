"""What the codecs of single columns share: the encoded cells of one column, and how Arrow holds them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NoReturn, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from synthmill.columns import Column
from synthmill.errors import SourceError

Scalar = str | int | float | bool | None
Json = dict[str, Scalar | list[Scalar]]  # the state of one column, without its arrays


@dataclass(frozen=True, slots=True)
class Cells:
    """One encoded column: a code, a normal score where the column holds numbers (else 0), and the rest; each (rows,)."""

    codes: NDArray[np.int64]
    values: NDArray[np.float64]
    rest: NDArray[np.int64]

    @classmethod
    def empty(cls, rows: int) -> Self:
        """Zeros, to be filled by the column's codec."""
        return cls(np.zeros(rows, np.int64), np.zeros(rows), np.zeros(rows, np.int64))


def plain(column: Column, cells: pa.Array | pa.ChunkedArray) -> pa.Array:
    """One chunk of the column's Arrow type; NaN is missing, as everywhere in Synthmill."""
    array = pa.concat_arrays(cells.chunks) if isinstance(cells, pa.ChunkedArray) and cells.num_chunks else cells
    if isinstance(array, pa.ChunkedArray):
        array = pa.array([], type=column.arrow)
    array = array.cast(column.arrow)
    return pc.if_else(pc.is_nan(array), None, array) if column.dtype == "double" else array


def storage(column: Column, cells: pa.Array) -> pa.Array:
    """Dates and times as int64 (days, microseconds); everything else as it is."""
    if column.dtype == "date32":
        return cells.cast(pa.int32()).cast(pa.int64())
    return cells.cast(pa.int64()) if column.dtype in ("timestamp", "time64") else cells


def refuse(column: Column, rows: int, what: str) -> NoReturn:
    """A SourceError that names the column and how many rows, never a cell."""
    raise SourceError(
        f"column {column.name!r} holds {what} ({rows} rows)",
        where=f"source.columns.{column.name}",
        hint="mend the source, or override the column's kind in the recipe",
    )
