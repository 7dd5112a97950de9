"""A synthetic table of any kind and size as a folder of Parquet that scoring can draw from, in fixed memory.

Parquet that Synthmill wrote under these very types is read where it lies; anything else is copied once, batch by batch, so that every cell
is known to fit.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from synthmill.columns import Schema
from synthmill.console import Reporter
from synthmill.engine import ShouldStop
from synthmill.errors import Interrupted, SourceError
from synthmill.sources import find_source
from synthmill.sources.stream import parquet_files, stream
from synthmill.store.files import storage_errors
from synthmill.store.marks import KEY

_SAY_ROWS = 1_000_000


@dataclass(frozen=True, slots=True)
class SyntheticSide:
    """A folder of Parquet files under the schema of train, and how many rows they hold."""

    folder: Path
    rows: int


@contextmanager
def gathered(
    uri: str, schema: Schema, *, root: Path, allowed: tuple[Path, ...], reporter: Reporter, should_stop: ShouldStop
) -> Iterator[SyntheticSide]:
    """The rows of `uri` for the block; raises SourceError for what does not fit the schema."""
    path = find_source(uri, root, allowed)
    files = [] if path is None else parquet_files(path)
    with tempfile.TemporaryDirectory(prefix="synthmill-score-") as name:
        folder = Path(name)
        if files and all(_is_ours(file, schema) for file in files):
            for number, file in enumerate(files):
                (folder / f"{number:05d}.parquet").symlink_to(file)
            rows = sum(pq.read_metadata(file).num_rows for file in files)
        else:
            pieces = stream(uri, schema, root=root, allowed=allowed)
            rows = _write(folder / "rows.parquet", pieces, schema, reporter, should_stop)
        reporter.say(f"synthetic {uri}: {rows:,} rows")
        yield SyntheticSide(folder, rows)


def _is_ours(file: Path, schema: Schema) -> bool:
    """Whether it can be trusted to hold the schema's types, no infinity, and null for what is missing."""
    try:
        found = pq.read_schema(file)
    except (OSError, pa.ArrowException) as error:
        hint = "write or fetch it again"
        raise SourceError(f"{file.name} is no whole parquet file", where=str(file), hint=hint) from error
    is_marked = KEY.encode() in (found.metadata or {})
    return is_marked and all(
        field.name in found.names and found.field(field.name).equals(field) for field in schema.arrow
    )


def _write(path: Path, pieces: Iterator[pa.Table], schema: Schema, reporter: Reporter, should_stop: ShouldStop) -> int:
    rows = 0
    with storage_errors(path), pq.ParquetWriter(path, schema.arrow, compression="lz4") as writer:
        for piece in pieces:
            if should_stop():
                raise Interrupted("stopped while reading", hint="nothing was written")
            writer.write_table(piece)
            if (rows + piece.num_rows) // _SAY_ROWS > rows // _SAY_ROWS:
                reporter.say(f"reading: {rows + piece.num_rows:,} rows")
            rows += piece.num_rows
    return rows
