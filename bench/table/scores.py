"""Any table's scores by our evaluators: `measure` alone, at the rows of the benchmark, without the runner's half-samples."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa
import pyarrow.compute as pc

from bench.table.cells import SCORES
from bench.table.data import Halves
from synthmill import registry
from synthmill.columns import Column, Schema
from synthmill.evaluator import Measured, Reference, References


def measure(rows: pa.Table, halves: Halves, *, most: int, keys: Sequence[str] = SCORES) -> dict[str, float]:
    """Name -> value; at most `most` rows a side. Copies are looked for among all train rows."""
    measured, holdout = Measured(rows.slice(0, most)), Reference(halves.holdout.slice(0, most))
    found = {}
    for key in keys:
        evaluator = registry.evaluator(key)()
        train = halves.train if evaluator.against == "train" else halves.train.slice(0, most)
        features = evaluator.prepare(train, halves.schema, seed=0)
        references = References(halves.schema, holdout, Reference(train), features)
        scores = evaluator.measure(measured, references, seed=0).scores
        found |= {f"{key}/{name}".removesuffix("/"): value for name, value in scores.items()}
    return found


def under(schema: Schema, rows: pa.Table) -> pa.Table:
    """A peer's rows under our types: whole numbers rounded, labels of whole numbers read back; a cell that is no number is missing."""
    return pa.table([_cast(column, rows[column.name].combine_chunks()) for column in schema], schema=schema.arrow)


def _cast(column: Column, cells: pa.Array) -> pa.Array:
    wanted = pa.field(column.name, pa.string()).type if column.dtype == "string" else None
    if wanted is not None:
        return cells.cast(wanted)
    if pa.types.is_string(cells.type) or pa.types.is_large_string(cells.type):
        is_number = pc.match_substring_regex(cells, r"^-?[0-9.]+(e[-+]?[0-9]+)?$")
        cells = pc.if_else(is_number, cells, None)
    cells = cells.cast(pa.float64())
    return pc.round(cells).cast(pa.int64()) if column.dtype == "int64" else cells
