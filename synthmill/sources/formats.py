"""Files to raw Arrow tables by their ending; errors name the file and the line, and never hold a cell."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet

from synthmill.dtypes import Raw
from synthmill.errors import SourceError
from synthmill.sources.text_files import read_csv, read_jsonl

TABLES = (".csv", ".tsv", ".jsonl", ".ndjson", ".parquet")


def read_file(path: Path, where: str) -> Raw:
    """One file of a known ending; `where` is the path as the recipe has it. Raises SourceError for what is broken or empty."""
    if path.suffix.lower() not in TABLES:
        hint = f"supported: {', '.join(TABLES)}, and folders of parquet files or images"
        raise SourceError(f"files that end with {path.suffix or 'nothing'} cannot be read", where=where, hint=hint)
    try:
        if path.stat().st_size == 0:
            raise SourceError("the file is empty", where=where, hint="was it written to the end?")
        match path.suffix.lower():
            case ".parquet":
                return Raw(_read_parquet(path, where))
            case ".jsonl" | ".ndjson":
                return Raw(read_jsonl(path, where))
            case suffix:
                return read_csv(path, where, "\t" if suffix == ".tsv" else None)
    except OSError as error:
        raise SourceError(f"the file cannot be read: {error.strerror or 'input error'}", where=where) from error


def read_parquet_folder(paths: list[Path], where: str) -> Raw:
    """Parquet files of one schema, in the order given, one below the other."""
    tables = [read_file(path, f"{where}/{path.name}").table for path in paths]
    for path, table in zip(paths, tables, strict=True):
        if not table.schema.equals(tables[0].schema):
            differing = sorted({f.name for f in {*table.schema} ^ {*tables[0].schema}})
            what = f"its columns differ from those of {paths[0].name}: {', '.join(differing) or 'their order'}"
            raise SourceError(what, where=f"{where}/{path.name}", hint="files of one folder share one schema")
    return Raw(pa.concat_tables(tables))


def _read_parquet(path: Path, where: str) -> pa.Table:
    try:
        with pyarrow.parquet.ParquetFile(path, page_checksum_verification=True) as file:
            table = file.read()
        table.validate(full=True)
    except (pa.ArrowException, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise  # the disk's fault; Arrow's own have no number
        hint = "write or fetch it again"
        raise SourceError("the parquet file is truncated or broken", where=where, hint=hint) from error
    return table
