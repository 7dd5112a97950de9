"""The split source in state: the real rows that fits, filters and scores of a plan read. They leave it for actors alone."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Literal, get_args

import pyarrow as pa
import pyarrow.parquet as pq

from synthmill.columns import Schema
from synthmill.store.files import aside_of, publish_folder, storage_errors

Part = Literal["train", "a", "b"]


def write_snapshot(folder: Path, parts: Mapping[Part, pa.Table]) -> None:
    """Store the parts whole or not at all; what is there and whole stays, what is damaged is made again."""
    if all(_holds(folder / f"{part}.parquet", table) for part, table in parts.items()):
        return
    shutil.rmtree(folder, ignore_errors=True)
    aside = aside_of(folder)
    with storage_errors(folder):
        try:
            aside.mkdir(parents=True)
            for part, table in parts.items():
                pq.write_table(table, aside / f"{part}.parquet", compression="zstd")
            publish_folder(aside, folder)
        finally:
            shutil.rmtree(aside, ignore_errors=True)


def read_snapshot(folder: Path, part: Part, schema: Schema) -> pa.Table:
    """One part under the schema of the source."""
    return pq.read_table(folder / f"{part}.parquet").cast(schema.arrow)


def read_whole_snapshot(folder: Path) -> pa.Table:
    """All rows of a source, which may have another schema than the plan's."""
    return pa.concat_tables(pq.read_table(folder / f"{part}.parquet") for part in get_args(Part))


def _holds(path: Path, table: pa.Table) -> bool:
    try:
        return bool(pq.read_table(path).cast(table.schema).equals(table))
    except (OSError, pa.ArrowException):
        return False
