"""The source: a file, a folder or a bundled data set, read to Arrow under a schema.

Modules of its own: formats.py and image_folder.py read, bundled.py holds what needs no file, dtypes.py types, infer.py tells kinds,
split.py divides.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from synthmill.columns import IMAGE_TYPE, PROVENANCE, Schema
from synthmill.dtypes import Note, Raw, normalise
from synthmill.errors import SourceError
from synthmill.pixels import decode_image
from synthmill.sources.bundled import read_bundled
from synthmill.sources.conform import conform
from synthmill.sources.domain import confine
from synthmill.sources.formats import read_file, read_parquet_folder
from synthmill.sources.image_folder import read_image_folder
from synthmill.sources.infer import infer
from synthmill.sources.text_files import check_names
from synthmill.spec import ColumnOverride

_SCHEME = re.compile(r"^([A-Za-z][A-Za-z0-9+.-]+):")
BUNDLED = ("sklearn", "statsmodels")


@dataclass(frozen=True, slots=True)
class SourceTable:
    """All rows of a source under its schema; `notes` are sentences on what reading changed."""

    table: pa.Table
    schema: Schema
    notes: tuple[str, ...]


def read(
    uri: str,
    *,
    root: Path,
    overrides: Mapping[str, ColumnOverride],
    target: str | None,
    allowed: Sequence[Path] = (),
) -> SourceTable:
    """Read `uri`, a path relative to `root` or `sklearn:NAME`, `statsmodels:NAME`.

    Raises SourceError for data that is missing, broken, or outside `root` and the `allowed` folders; RecipeError for an override or a
    target that names no column.
    """
    table, notes = _standardised(_raw(uri, root, allowed), uri)
    table, schema = infer(table, overrides, target)
    table, moved = confine(table.cast(schema.arrow), schema)
    return SourceTable(_some_rows(table, uri), schema, _sentences([*notes, *moved]))


def read_alike(uri: str, schema: Schema, *, root: Path, allowed: Sequence[Path] = ()) -> pa.Table:
    """A second file under the schema of the source: a holdout of its own."""
    table, _ = _standardised(_raw(uri, root, allowed), uri)
    return confine(conform(table, schema, uri), schema)[0]


def is_file_source(uri: str) -> bool:
    """False where the data comes inside a package, so that there is no file to track."""
    return _scheme(uri) not in BUNDLED


def locate(uri: str, root: Path, allowed: Sequence[Path] = ()) -> Path:
    """Where a path of a recipe leads, symlinks resolved; SourceError where that is outside `root` and the `allowed` folders."""
    try:
        path = (root / uri).resolve()
        path.exists()
    except (OSError, ValueError, RuntimeError) as error:  # a name too long, a zero byte, a ring of links
        raise SourceError("this is no path", where=repr(uri)[:200]) from error
    if not any(path.is_relative_to(folder.resolve()) for folder in (root, *allowed)):
        hint = "copy the data into the workspace, or allow its folder in synthmill.toml"
        raise SourceError("the path leads outside the workspace", where=uri, hint=hint)
    return path


def find_source(uri: str, root: Path, allowed: Sequence[Path] = ()) -> Path | None:
    """The file or folder of a source, None where it is bundled; SourceError where there is none, or none that may be read."""
    scheme = _scheme(uri)
    if scheme in BUNDLED:
        return None
    if scheme is not None:
        hint = f"supported are paths in the workspace, {BUNDLED[0]}:NAME and {BUNDLED[1]}:NAME"
        raise SourceError(f"{scheme}: sources are not supported", where=uri, hint=hint)
    path = locate(uri, root, allowed)
    if not path.exists():
        near = difflib.get_close_matches(path.name, [p.name for p in path.parent.glob("*")], n=1)
        hint = f"did you mean {near[0]}?" if near else f"paths start at {root}"
        raise SourceError("there is no such file", where=uri, hint=hint)
    if not (path.is_dir() or path.is_file()):
        raise SourceError("this is neither a file nor a folder", where=uri)
    return path


def _raw(uri: str, root: Path, allowed: Sequence[Path]) -> Raw:
    path = find_source(uri, root, allowed)
    if path is None:
        return Raw(read_bundled(uri))
    return _read_folder(path, uri, root, allowed) if path.is_dir() else read_file(path, uri)


def _read_folder(folder: Path, uri: str, root: Path, allowed: Sequence[Path]) -> Raw:
    parquet = sorted(p for p in folder.iterdir() if p.suffix.lower() == ".parquet" and not p.name.startswith("."))
    if parquet:
        return read_parquet_folder([locate(str(path), root, allowed) for path in parquet], uri)
    return read_image_folder(folder, uri, lambda path: locate(str(path), root, allowed))


def _scheme(uri: str) -> str | None:
    found = _SCHEME.match(uri)
    return found[1].lower() if found else None


def _standardised(raw: Raw, uri: str) -> tuple[pa.Table, list[Note]]:
    """Names checked, each column of one of our types, every image whole, at least one row."""
    names = raw.table.column_names
    check_names(names, uri)
    if taken := [name for name in names if name in PROVENANCE]:
        what = f"the column name {taken[0]} is reserved for the provenance of released rows"
        raise SourceError(what, where=uri, hint="rename or drop that column")
    _some_rows(raw.table, uri)
    notes, columns = [*raw.notes], {}
    for name in names:
        typed = normalise(name, raw.table[name], uri)
        columns[name] = typed.values
        notes += typed.notes
        if typed.values.type == IMAGE_TYPE:
            _check_images(typed.values, uri)
    return pa.table(columns), notes


def _some_rows(table: pa.Table, uri: str) -> pa.Table:
    if table.num_rows == 0:
        raise SourceError("there are columns and no rows", where=uri, hint="a source needs rows to learn from")
    return table


def _check_images(cells: pa.ChunkedArray, uri: str) -> None:
    """Decode each image once, so that a broken one is found before a fit."""
    for number, cell in enumerate(cells, start=1):
        data, path = (cell["bytes"].as_py(), cell["path"].as_py()) if cell.is_valid else (None, None)
        where = f"{uri}/{path}" if path else f"{uri}, row {number}"
        if data is None:
            raise SourceError(
                "a row holds no image bytes", where=where, hint="drop such rows, or store the bytes in the file"
            )
        decode_image(data, where=where)


def _sentences(notes: Iterable[Note]) -> tuple[str, ...]:
    columns: dict[str, list[str]] = {}
    for note in notes:
        columns.setdefault(note.what, []).extend([note.column] if note.column else [])
    return tuple(f"{what}: {', '.join(names)}" if names else what for what, names in columns.items())
