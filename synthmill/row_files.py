"""Rows to one file of a format that its name tells: Parquet, csv or JSON lines; csv also to stdout. A piece in memory at a time."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from synthmill.columns import IMAGE_TYPE, Schema
from synthmill.errors import InputError
from synthmill.store.files import publishing
from synthmill.store.marks import mark

Write = Callable[[pa.Table], object]


def check_target(path: Path | None, *, may_replace: bool) -> None:
    """Raise InputError where `path` cannot become a file of rows, before any work is done for it."""
    if path is None:
        return
    if path.suffix.lower() not in _WRITERS:
        hint = f"supported: {', '.join(_WRITERS)}, and - for csv on stdout"
        raise InputError(
            f"files that end with {path.suffix or 'nothing'} cannot be written", where=str(path), hint=hint
        )
    if not path.parent.is_dir():
        raise InputError("there is no such folder", where=str(path.parent), hint="make it first")
    if path.is_dir():
        raise InputError("this is a folder", where=str(path), hint="name a file in it")
    if path.exists() and not may_replace:
        raise InputError("the file is there already", where=str(path), hint="name another one, or --force")


def check_cells(path: Path | None, schema: Schema) -> None:
    """Raise InputError where a text file was named for images."""
    if (path is None or path.suffix.lower() != ".parquet") and IMAGE_TYPE in schema.arrow.types:
        raise InputError("images fit into no text file", where=str(path or "-"), hint="name a .parquet file")


def write_rows(path: Path | None, pieces: Iterator[pa.Table], schema: Schema) -> None:
    """Write all pieces to `path`, whole or not at all; None is csv on stdout."""
    if path is None:
        _write_stdout(pieces, schema.arrow)
        return
    with publishing(path) as aside, _WRITERS[path.suffix.lower()](aside, schema.arrow) as write:
        for piece in pieces:
            write(piece)


def _write_stdout(pieces: Iterator[pa.Table], schema: pa.Schema) -> None:
    for number, piece in enumerate(pieces):
        text = io.BytesIO()
        options = pyarrow.csv.WriteOptions(include_header=number == 0)
        pyarrow.csv.write_csv(piece.cast(schema), text, options)
        sys.stdout.write(text.getvalue().decode())


@contextmanager
def _parquet(path: Path, schema: pa.Schema) -> Iterator[Write]:
    marked = mark(schema)
    with pq.ParquetWriter(path, marked, compression="zstd") as writer:
        yield lambda piece: writer.write_table(piece.cast(marked))


@contextmanager
def _csv(path: Path, schema: pa.Schema) -> Iterator[Write]:
    with pyarrow.csv.CSVWriter(path, schema) as writer:
        yield lambda piece: writer.write_table(piece.cast(schema))


@contextmanager
def _jsonl(path: Path, schema: pa.Schema) -> Iterator[Write]:
    with path.open("w", encoding="utf-8") as file:

        def write(piece: pa.Table) -> None:
            for row in piece.to_pylist():
                file.write(json.dumps(row, ensure_ascii=False, default=str) + "\n")

        yield write


_WRITERS: dict[str, Callable[[Path, pa.Schema], AbstractContextManager[Write]]] = {
    ".parquet": _parquet,
    ".csv": _csv,
    ".jsonl": _jsonl,
}
