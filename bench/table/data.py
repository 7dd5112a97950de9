"""The five tables, halved: a maker sees one half, the other is the holdout."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa

from synthmill.columns import Schema
from synthmill.sources import read, read_alike
from synthmill.spec import ColumnOverride


@dataclass(frozen=True, slots=True)
class Data:
    """Where a table lies and how it is read; files of one table are stacked."""

    title: str
    files: tuple[str, ...]
    target: str
    rows_a_side: int  # the most that are scored
    overrides: Mapping[str, ColumnOverride] = field(default_factory=dict)


DATA = {
    "adult": Data("Adult", ("adult.csv",), "income", 16_280),
    "magic": Data("Magic", ("magic_train.csv", "magic_test.csv"), "class", 9_510),
    "shoppers": Data("Shoppers", ("shoppers.csv",), "Revenue", 6_165),
    "default": Data("Default", ("default.csv",), "default payment next month", 15_000),
    # The running number is a column like any other: makers that know ids would otherwise be spared what others model.
    "beijing": Data("Beijing", ("beijing.csv",), "pm2.5", 20_878, {"No": ColumnOverride(kind="integer")}),
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
    source = read(first, root=folder, overrides=data.overrides, target=data.target)
    table = pa.concat_tables([source.table, *(read_alike(file, source.schema, root=folder) for file in others)])
    order = np.random.default_rng(seed).permutation(table.num_rows)
    half = min(table.num_rows // 2, rows or table.num_rows)
    return Halves(table.take(order[:half]), table.take(order[half : 2 * half]), source.schema)
