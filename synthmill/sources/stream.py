"""The rows of a file or folder of any size under the schema of a source, a few megabytes in memory at a time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from synthmill.columns import PROVENANCE, Column, Schema
from synthmill.dtypes import csv_cells, from_csv, normalise
from synthmill.errors import SourceError
from synthmill.sources import find_source, locate, read_alike
from synthmill.sources.conform import convert, fit, refuse_misfits, require_columns
from synthmill.sources.text_files import stream_csv, stream_jsonl

_BATCH_ROWS = 1 << 16
_DELIMITERS = {".csv": None, ".tsv": "\t"}
_LINES = (".jsonl", ".ndjson")
STREAMED = (*_DELIMITERS, *_LINES)


def parquet_files(path: Path) -> list[Path]:
    """The Parquet files that a path means: itself, those in the folder, or those in the folder's data/, as a release has them."""
    for folder in (path, path / "data"):
        found = sorted(p for p in folder.glob("*.parquet") if not p.name.startswith("."))
        if found:
            return found
    return [path] if path.suffix.lower() == ".parquet" else []


def stream(uri: str, schema: Schema, *, root: Path, allowed: Sequence[Path] = ()) -> Iterator[pa.Table]:
    """Tables of some thousand rows, none empty. SourceError where a column is missing; what does not fit is counted to the end first."""
    misfits, rows = Counter[str](), 0
    for raw in _raw(uri, schema, root, allowed):
        table, wrong = fit(raw, schema)
        misfits.update(wrong)
        rows += table.num_rows
        if table.num_rows and not misfits:
            yield table
    refuse_misfits(misfits, rows, schema, uri)
    if rows == 0:
        raise SourceError("there are columns and no rows", where=uri, hint="was it written to the end?")


def _raw(uri: str, schema: Schema, root: Path, allowed: Sequence[Path]) -> Iterator[pa.Table]:
    """Tables that hold the columns of the schema, each of one of our types."""
    path = find_source(uri, root, allowed)
    if path is not None and (files := parquet_files(path)):
        for file in files:
            yield from _parquet(locate(str(file), root, allowed), uri, schema)
    elif path is not None and path.suffix.lower() in _DELIMITERS:
        yield from _csv(path, uri, schema)
    elif path is not None and path.suffix.lower() in _LINES:
        yield from _jsonl(path, uri, schema)
    else:
        yield read_alike(uri, schema, root=root, allowed=allowed)


def _parquet(path: Path, uri: str, schema: Schema) -> Iterator[pa.Table]:
    try:
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            require_columns(file.schema_arrow.names, schema, uri)
            for batch in file.iter_batches(_BATCH_ROWS, columns=schema.names):
                yield _standardised(pa.Table.from_batches([batch]), schema, uri)
    except pa.ArrowException as error:
        raise _broken(path, uri) from error


def _broken(path: Path, uri: str) -> SourceError:
    hint = "write or fetch it again"
    return SourceError(f"the parquet file {path.name} is truncated or broken", where=uri, hint=hint)


def _csv(path: Path, uri: str, schema: Schema) -> Iterator[pa.Table]:
    for text in stream_csv(path, uri, _DELIMITERS[path.suffix.lower()]):
        require_columns(text.column_names, schema, uri)
        columns = {column.name: _from_text(text[column.name], column) for column in schema}
        yield _standardised(pa.table(columns), schema, uri)


def _from_text(raw: pa.ChunkedArray, column: Column) -> pa.ChunkedArray:
    """Text as the schema has it where all of it reads as that, else typed by its own looks: 39.0 is an integer too."""
    typed = convert(csv_cells(raw), column.arrow)
    return from_csv(column.name, raw).values if typed is None else typed


def _jsonl(path: Path, uri: str, schema: Schema) -> Iterator[pa.Table]:
    """A key that no line of a block has is missing in that block; one that no line at all has is an error."""
    seen: set[str] = set()
    for table in stream_jsonl(path, uri):
        seen.update(table.column_names)
        absent = {c.name: pa.nulls(table.num_rows, c.arrow) for c in schema if c.name not in table.column_names}
        present = {name: table[name] for name in schema.names if name not in absent}
        yield _standardised(pa.table({**present, **absent}), schema, uri)
    require_columns(sorted(seen), schema, uri)


def _standardised(table: pa.Table, schema: Schema, uri: str) -> pa.Table:
    """Each column under one of our types; text that the schema wants as text stays it, whatever it looks like."""
    columns = {}
    for column in schema:
        values = table[column.name]
        stays_text = column.dtype == "string" and _is_text(values.type)
        columns[column.name] = values.cast(pa.string()) if stays_text else normalise(column.name, values, uri).values
    return pa.table(columns)


def _is_text(given: pa.DataType) -> bool:
    kind = given.value_type if pa.types.is_dictionary(given) else given
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def other_columns(uri: str, schema: Schema, *, root: Path, allowed: Sequence[Path] = ()) -> list[str]:
    """Columns that a file has beyond the schema and provenance."""
    names = column_names(uri, root=root, allowed=allowed)
    return [name for name in names if name not in schema and name not in PROVENANCE]


def column_names(uri: str, *, root: Path, allowed: Sequence[Path] = ()) -> list[str]:
    """The columns of a file; of JSON lines every key that any of them has. None are known of what is not read by pieces."""
    path = find_source(uri, root, allowed)
    if path is None:
        return []
    if files := parquet_files(path):
        return list(_parquet_schema(locate(str(files[0]), root, allowed), uri).names)
    if path.suffix.lower() in _DELIMITERS:
        return next((table.column_names for table in stream_csv(path, uri, _DELIMITERS[path.suffix.lower()])), [])
    if path.suffix.lower() in _LINES:
        return list(dict.fromkeys(name for table in stream_jsonl(path, uri) for name in table.column_names))
    return []


def _parquet_schema(path: Path, uri: str) -> pa.Schema:
    try:
        return pq.read_schema(path)
    except pa.ArrowException as error:
        raise _broken(path, uri) from error
