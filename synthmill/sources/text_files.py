"""Text files to raw Arrow tables: csv, tsv and JSON lines. A broken line is looked for only after Arrow has found that there is one."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.csv
import pyarrow.json

from synthmill.dtypes import Note, Raw, from_csv
from synthmill.errors import SourceError

_BLOCK_BYTES = 1 << 24  # a row must fit into one block
_UTF16_MARKS = (b"\xff\xfe", b"\xfe\xff")


def read_csv(path: Path, where: str, delimiter: str | None) -> Raw:
    """Every column typed from its text; without a `delimiter`, the header tells which it is."""
    with _opened_csv(path, where, delimiter) as (header, reader):
        table = reader.read_all()
    columns, notes = dict(zip(header.names, table.columns, strict=True)), [*header.notes]
    del table  # so that each column's text is freed once it is typed
    for name in header.names:
        typed = from_csv(name, columns.pop(name))
        columns[name] = typed.values
        notes += typed.notes
    return Raw(pa.table(columns), tuple(notes))


def stream_csv(path: Path, where: str, delimiter: str | None) -> Iterator[pa.Table]:
    """The cells as text, some megabytes at a time."""
    with _opened_csv(path, where, delimiter) as (_, reader):
        for batch in reader:
            yield pa.Table.from_batches([batch])


@contextmanager
def _opened_csv(
    path: Path, where: str, delimiter: str | None
) -> Iterator[tuple[_Header, pyarrow.csv.CSVStreamingReader]]:
    """The header, and a reader of all cells as text; what is wrong with a line is a SourceError, also while it is read."""
    header = _csv_header(path, where, delimiter)
    misshapen: list[int] = []

    def note_row(row: pyarrow.csv.InvalidRow) -> str:
        misshapen.append(row.actual_columns)
        return "error"

    if line := _unclosed_quote(path, header.delimiter):
        raise SourceError("a quoted field does not end", where=f"{where}:{line}", hint="close its quote, or double it")
    try:
        with pyarrow.csv.open_csv(
            path,
            read_options=pyarrow.csv.ReadOptions(
                column_names=header.names, skip_rows=header.lines, block_size=_BLOCK_BYTES
            ),
            parse_options=pyarrow.csv.ParseOptions(
                delimiter=header.delimiter, newlines_in_values=True, invalid_row_handler=note_row
            ),
            convert_options=pyarrow.csv.ConvertOptions(
                column_types={name: pa.string() for name in header.names}, strings_can_be_null=False
            ),
        ) as reader:
            yield header, reader
    except pa.ArrowInvalid as error:
        if misshapen:
            raise _ragged(path, where, header) from None  # Arrow's message holds the row
        raise _undecodable(path, where) or _too_long(where) from error


def read_jsonl(path: Path, where: str) -> pa.Table:
    """One JSON object a line, keys as columns; a key that a line lacks is missing there."""
    return _json_table(path, where)


def stream_jsonl(path: Path, where: str) -> Iterator[pa.Table]:
    """Blocks of lines, each with the columns that its own lines have."""
    with path.open("rb") as file:
        while lines := file.readlines(_BLOCK_BYTES):
            block = b"".join(lines)
            if block.strip():
                yield _json_table(path, where, block)


def _json_table(path: Path, where: str, block: bytes | None = None) -> pa.Table:
    """The rows of a file, or of a block of its lines."""

    def opened() -> Path | io.BytesIO:
        return path if block is None else io.BytesIO(block)

    try:
        table = pyarrow.json.read_json(opened(), read_options=pyarrow.json.ReadOptions(block_size=_BLOCK_BYTES))
        # Arrow makes timestamps of dates; text lets the types be told apart by the same rules as in a csv.
        texts = [(field.name, pa.string()) for field in table.schema if pa.types.is_timestamp(field.type)]
        if texts:
            options = pyarrow.json.ParseOptions(explicit_schema=pa.schema(texts))
            read = pyarrow.json.ReadOptions(block_size=_BLOCK_BYTES)
            table = pyarrow.json.read_json(opened(), read_options=read, parse_options=options).select(
                table.column_names
            )
        table.validate(full=True)  # Arrow's reader does not look at the encoding
    except (pa.ArrowInvalid, UnicodeDecodeError) as error:
        raise _undecodable(path, where) or _broken_json(path, where) from error
    return table


def check_names(names: list[str], where: str) -> None:
    """No column at all, one without a name, and a name given twice are SourceErrors."""
    hint = "the first line must name the columns, each once"
    if not names:
        raise SourceError("there is no column", where=where, hint=hint)
    if "" in names:
        hint = "name it; pandas writes such a column for its index unless index=False"
        raise SourceError(f"column {names.index('') + 1} has no name", where=where, hint=hint)
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise SourceError(f"two columns are named {twice[0]}", where=where, hint=hint)


@dataclass(frozen=True, slots=True)
class _Header:
    names: list[str]
    lines: int  # that it takes, blank ones before it included
    delimiter: str
    notes: tuple[Note, ...]


def _csv_header(path: Path, where: str, delimiter: str | None) -> _Header:
    notes: tuple[Note, ...] = ()
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            if delimiter is None:
                line = next((line for line in file if line.strip()), "")
                delimiter = next((mark for mark in ",;\t|" if mark in line), ",")
                notes = () if delimiter == "," else (Note(f"the columns are separated by {delimiter!r}"),)
                file.seek(0)
            reader = csv.reader(file, delimiter=delimiter)
            names = next((row for row in reader if row), [])
    except UnicodeDecodeError as error:
        raise _undecodable(path, where) or error from error
    except csv.Error as error:
        raise SourceError("the header is no line of a csv file", where=where, hint="is it text?") from error
    names = [name.strip() for name in names]
    check_names(names, where)
    if any(name.replace(".", "", 1).isdigit() for name in names):
        notes += (Note("some column names are numbers: is the first line a header?"),)
    return _Header(names, reader.line_num, delimiter, notes)


def _unclosed_quote(path: Path, delimiter: str) -> int | None:
    """The line of a row whose quote never closes and so swallows the rest; only a file with an odd number of quotes has one."""
    with path.open("rb") as binary:
        quotes = sum(block.count(b'"') for block in iter(lambda: binary.read(_BLOCK_BYTES), b""))
    if quotes % 2 == 0:
        return None
    with path.open(encoding="utf-8-sig", errors="replace", newline="") as file:
        reader, last = csv.reader(file, delimiter=delimiter, strict=True), 0
        try:
            for _ in reader:
                last = reader.line_num
        except csv.Error:
            return last + 1
    return None


def _ragged(path: Path, where: str, header: _Header) -> SourceError:
    """The first line whose number of fields is not the header's, found by reading again."""
    expected = len(header.names)
    line, found = next(_misshapen_rows(path, header), (0, 0))
    what = f"a row has {found} fields and the header {expected}" if line else "rows differ in their number of fields"
    return SourceError(
        what, where=f"{where}:{line}" if line else where, hint="is a separator inside a value not quoted?"
    )


def _misshapen_rows(path: Path, header: _Header) -> Iterator[tuple[int, int]]:
    with path.open(encoding="utf-8-sig", errors="replace", newline="") as file:
        reader = csv.reader(file, delimiter=header.delimiter)
        for row in reader:
            if row and len(row) != len(header.names):
                yield reader.line_num, len(row)


def _undecodable(path: Path, where: str) -> SourceError | None:
    """What is said of the first line that is not UTF-8, if there is one."""
    with path.open("rb") as file:
        is_utf16 = file.read(2) in _UTF16_MARKS
        file.seek(0)
        for number, line in enumerate(file, start=1):
            try:
                line.decode()
            except UnicodeDecodeError:
                guess = "UTF-16" if is_utf16 else "WINDOWS-1252"
                hint = f"convert it, for instance: iconv -f {guess} -t UTF-8"
                return SourceError("the file is not UTF-8", where=f"{where}:{number}", hint=hint)
    return None


def _too_long(where: str) -> SourceError:
    hint = "is a quote closed where it should not be?"
    return SourceError(f"a row is longer than {_BLOCK_BYTES >> 20} MiB", where=where, hint=hint)


def _broken_json(path: Path, where: str) -> SourceError:
    hint = "each line must hold one object, and a key the same type in each"
    kinds: dict[str, type] = {}
    with path.open(encoding="utf-8") as file:
        for number, line in enumerate(file, start=1):
            if what := _fault(line, kinds):
                return SourceError(what, where=f"{where}:{number}", hint=hint)
    return SourceError("the lines do not fit one table", where=where, hint=hint)


def _fault(line: str, kinds: dict[str, type]) -> str | None:
    """Why a line is no row like those before; `kinds` gathers the type of each key."""
    try:
        row = json.loads(line) if line.strip() else {}
    except json.JSONDecodeError:
        return "the line is no JSON"
    if not isinstance(row, dict):
        return "the line is no JSON object"
    for key, value in row.items():
        kind = float if isinstance(value, int) and not isinstance(value, bool) else type(value)
        if value is not None and kinds.setdefault(key, kind) is not kind:
            return f"the key {key} changes its type"
    return None
