"""The five tables, halved: a maker sees one half, the other is the holdout."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from synthmill.columns import Schema
from synthmill.sources import read, read_alike


@dataclass(frozen=True, slots=True)
class Data:
    """Where a table lies and how it is read; files of one table are stacked."""

    title: str
    files: tuple[str, ...]
    target: str
    rows_a_side: int  # the most that are scored
    without: tuple[str, ...] = ()  # columns that number the rows: nothing to learn, and not every peer knows ids


DATA = {
    "adult": Data("Adult", ("adult.csv",), "income", 16_280),
    "magic": Data("Magic", ("magic_train.csv", "magic_test.csv"), "class", 9_510),
    "shoppers": Data("Shoppers", ("shoppers.csv",), "Revenue", 6_165),
    "default": Data("Default", ("default.csv",), "default payment next month", 15_000),
    "beijing": Data("Beijing", ("beijing.csv",), "pm2.5", 20_878, without=("No",)),
}


@dataclass(frozen=True, slots=True)
class Halves:
    """Train and holdout, of equal size."""

    train: pa.Table
    holdout: pa.Table
    schema: Schema


def read_halves(data: Data, folder: Path, *, seed: int, rows: int | None = None) -> Halves:
    """`seed` deals the rows; `rows` cuts both halves."""
    first, *others = data.files
    source = read(first, root=folder, overrides={}, target=data.target)
    table = pa.concat_tables([source.table, *(read_alike(file, source.schema, root=folder) for file in others)])
    columns = tuple(column for column in source.schema if column.name not in data.without)
    schema = Schema(columns=columns, target=data.target)
    table = table.select(schema.arrow.names)
    order = np.random.default_rng(seed).permutation(table.num_rows)
    half = min(table.num_rows // 2, rows or table.num_rows)
    return Halves(table.take(order[:half]), table.take(order[half : 2 * half]), schema)
