"""How many synthetic rows are train rows, cell by cell?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from synthmill.columns import Modality, Schema
from synthmill.errors import SourceError
from synthmill.evaluator import Direction, Evaluator, Measured, Measurement, References
from synthmill.rows import row_hashes

Hashes = NDArray[np.void]


class Copies(Evaluator):
    """The share of rows that equal a train row in every column but the ids: 0 is none, 1 is all.

    Of real rows too some equal a train row by chance (22 % where columns are few and coarse), so the ceiling, the same
    share of holdout A, is the value to compare with; there is no floor. It misleads where amounts are continuous: a
    copy with one digit changed is no copy here. With no copy in n rows the interval has no width, though shares up to
    about 3/n fit as well (the rule of three).
    """

    modality: ClassVar[Modality] = "table"
    version: ClassVar[int] = 1
    scores: ClassVar[Mapping[str, Direction]] = {"": "lower"}
    remedy: ClassVar[str] = (
        "Set accept.copies_of_train to reject. Where near copies stay, the generator overfits: fewer steps, a"
        " smaller network, or more train rows."
    )
    against: ClassVar[Literal["holdout", "train"]] = "train"
    has_floor: ClassVar[bool] = False

    def prepare(self, train: pa.Table, schema: Schema, *, seed: int) -> Hashes:
        """The sorted hashes of all train rows; `seed` is not used."""
        return np.unique(_hashes(train, schema))

    def measure(self, measured: Measured, references: References, *, seed: int) -> Measurement:
        """Exact but for collisions of 128 bits; `seed` is not used. Reads the train rows as what `prepare` made of them."""
        known = references.features
        assert isinstance(known, np.ndarray), "measure needs what prepare returned"
        return Measurement({"": float(np.isin(_hashes(measured.table, references.schema), known).mean())})


def _hashes(table: pa.Table, schema: Schema) -> Hashes:
    """One sortable value of 128 bits a row; shape (rows,)."""
    names = [column.name for column in schema if column.kind != "id"]
    if not names:
        raise SourceError("no column can be copied: all are ids", hint="leave privacy/copies out of the recipe")
    return np.ascontiguousarray(row_hashes(table, names)).view([("first", np.uint64), ("second", np.uint64)]).ravel()
