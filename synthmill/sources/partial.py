"""Rows of which some cells are empty, from a file that has some of a source's columns: checked as a whole, then read piece by piece."""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

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


@dataclass(slots=True)
class UnknownLabels:
    """Rows that lack a cell and have a label that neither train nor the recipe has, which a model cannot be given."""

    rows: int = 0
    first: int = 0  # the number of the first of them, from 1
    columns: Counter[str] = field(default_factory=Counter)  # rows by the column of the label
    empty: int = 0  # cells of these rows, in columns of the file


@dataclass(frozen=True, slots=True)
class Gaps:
    """What a file leaves open: its `rows`, how many of them lack nothing, and `empty` cells by column of the file."""

    rows: int
    whole: int
    empty: Mapping[str, int]
    unknown: UnknownLabels


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


def known_labels(given: Schema, train: pa.Table) -> Mapping[str, pa.Array]:
    """What a model can be given in those of the columns `given` where that is not any value at all."""
    return {
        column.name: pc.unique(train[column.name]) if (described := labels(column)) is None else described
        for column in given
        if column.is_discrete or train[column.name].null_count == train.num_rows
    }


def is_unknown(cells: pa.ChunkedArray, known: pa.Array) -> NDArray[np.bool_]:
    """Where a cell has a label that is none of `known`; (rows,)."""
    found: NDArray[np.bool_] = pc.and_(pc.is_valid(cells), pc.invert(pc.is_in(cells, value_set=known))).to_numpy()
    return found


def survey(file: PartialFile, known: Mapping[str, pa.Array], source: Schema) -> Gaps:
    """Read the file once. A row that lacks nothing may have any label, as no model is asked for it."""
    is_short = len(file.schema) < len(source)
    rows, whole, unknown = 0, 0, UnknownLabels()
    empty = dict.fromkeys(file.schema.names, 0)
    for piece in file.pieces():
        lacks = np.stack([cells.is_null().to_numpy() for cells in piece.columns], 1)  # (rows, columns)
        is_open = lacks.any(1) | np.full(piece.num_rows, is_short)
        for name, count in zip(piece.column_names, lacks.sum(0).tolist(), strict=True):
            empty[name] += count
        _add_unknown(unknown, piece, known, is_open, lacks, rows)
        rows += piece.num_rows
        whole += int((~is_open).sum())
    return Gaps(rows, whole, empty, unknown)


def _add_unknown(
    unknown: UnknownLabels,
    piece: pa.Table,
    known: Mapping[str, pa.Array],
    is_open: NDArray[np.bool_],
    lacks: NDArray[np.bool_],
    before: int,
) -> None:
    """`before` rows come before those of the piece."""
    found = {name: is_unknown(piece[name], values) & is_open for name, values in known.items()}
    places = np.flatnonzero(sum(found.values(), np.zeros(piece.num_rows, np.int64)))
    if len(places) == 0:
        return
    unknown.columns.update({name: int(is_it.sum()) for name, is_it in found.items() if is_it.any()})
    unknown.first = unknown.first or before + int(places[0]) + 1
    unknown.rows += len(places)
    unknown.empty += int(lacks[places].sum())


def refuse_unknown(file: PartialFile, gaps: Gaps) -> None:
    """SourceError that counts the rows with a label that a model cannot be given and names their columns, and never the label."""
    unknown = gaps.unknown
    if unknown.rows:
        columns = ", ".join(f"{name} ({count:,})" for name, count in unknown.columns.items())
        what = (
            f"{unknown.rows:,} of {gaps.rows:,} rows, the first of them row {unknown.first:,}, have a value that train "
            f"never had, so the model knows nothing that goes with it; by column: {columns}"
        )
        hint = (
            "correct these cells or empty them; else --unknown keep leaves those rows as they are, "
            "and --unknown blank fills their gaps as if that cell were empty, but writes it as it is"
        )
        raise SourceError(what, where=file.where, hint=hint)
