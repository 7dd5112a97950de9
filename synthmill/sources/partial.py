"""Rows of which some cells are empty, from a file that has some of a source's columns: checked as a whole, then read piece by piece."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from synthmill.columns import Schema
from synthmill.domains import labels
from synthmill.errors import SourceError
from synthmill.sources import find_source
from synthmill.sources.stream import STREAMED, column_names, parquet_files, stream


@dataclass(frozen=True, slots=True)
class PartialFile:
    """A file whose columns are those of `schema`, a part of the source's."""

    path: Path
    schema: Schema

    @property
    def where(self) -> str:
        """The file as errors call it."""
        return str(self.path)

    def pieces(self) -> Iterator[pa.Table]:
        """Its rows, some thousand at a time; an empty cell is null."""
        root = Path.cwd()
        return stream(self.where, self.schema, root=root, allowed=(Path(root.anchor),))


@dataclass(frozen=True, slots=True)
class Gaps:
    """What a file leaves open: its `rows`, how many of them lack nothing, and `empty` cells by column of the file."""

    rows: int
    whole: int
    empty: Mapping[str, int]


def open_partial(path: Path, source: Schema, givable: Collection[str]) -> PartialFile:
    """Find the columns of a file; SourceError for one that the source does not have, or that cannot be given."""
    root = Path.cwd()
    allowed = (Path(root.anchor),)
    found = find_source(str(path), root, allowed)
    if found is not None and not parquet_files(found) and found.suffix.lower() not in STREAMED:
        hint = f"supported: {', '.join(STREAMED)}, .parquet and folders of parquet files"
        raise SourceError("rows to complete are not read from this", where=str(path), hint=hint)
    names = column_names(str(path), root=root, allowed=allowed)
    for name in names:
        if name not in source:
            near = difflib.get_close_matches(name, source.names, n=1)
            hint = f"did you mean {near[0]}?" if near else f"columns: {', '.join(source.names)}"
            raise SourceError(f"the source has no column {name}", where=str(path), hint=hint)
        if name not in givable:
            hint = f"leave it out; it takes {', '.join(n for n in source.names if n in givable) or 'none'}"
            raise SourceError(f"the generator cannot be given the column {name}", where=str(path), hint=hint)
    return PartialFile(path, Schema(columns=tuple(column for column in source if column.name in names)))


def survey(file: PartialFile, train: pa.Table, source: Schema) -> Gaps:
    """Read the file once; SourceError that names the row of a label that neither train nor the recipe has, and never the label."""
    known = {
        column.name: pc.unique(train[column.name]) if (described := labels(column)) is None else described
        for column in file.schema
        if column.is_discrete or train[column.name].null_count == train.num_rows
    }
    rows, whole = 0, 0
    empty = dict.fromkeys(file.schema.names, 0)
    for piece in file.pieces():
        for name, values in known.items():
            _refuse_unknown(piece[name], values, name, file.where, rows)
        lacking = pc.is_null(piece[0])
        for name in piece.column_names:
            empty[name] += piece[name].null_count
            lacking = pc.or_(lacking, pc.is_null(piece[name]))
        rows += piece.num_rows
        whole += piece.num_rows - pc.sum(lacking).as_py() if len(file.schema) == len(source) else 0
    return Gaps(rows, whole, empty)


def _refuse_unknown(cells: pa.ChunkedArray, known: pa.Array, name: str, where: str, before: int) -> None:
    """`before` rows come before these cells."""
    is_unknown = pc.and_(pc.is_valid(cells), pc.invert(pc.is_in(cells, value_set=known)))
    if (place := pc.index(is_unknown, True).as_py()) >= 0:
        what = f"column {name} has a value that train never had, so the model knows nothing that goes with it"
        hint = "leave the cell empty to have it filled, or correct it"
        raise SourceError(what, where=f"{where}, row {before + place + 1:,}", hint=hint)
