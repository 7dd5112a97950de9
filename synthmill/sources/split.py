"""Train, A and B: who is held out depends on a row's values alone, not on its place in the file and not on the recipe's seed.

A row is hashed with its occurrence number (0 for the first row of these values, 1 for the next), so that duplicates fall on both sides as
they would by chance: copies between train and holdout keep their real rate, which gates on copies are relative to.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from synthmill.columns import Schema
from synthmill.dtypes import moment
from synthmill.errors import RecipeError, SourceError
from synthmill.rows import Lanes, mix, row_hashes
from synthmill.sources import read_alike
from synthmill.spec import Holdout, HoldoutAfter, HoldoutBy

_GROUP_SHARE = 0.2  # of the groups, under {by: COLUMN}
_DATES = ("date", "datetime")


@dataclass(frozen=True, slots=True)
class Split:
    """Real rows to learn from, and the two halves of the holdout: B is the reference, A stands in a candidate's place."""

    train: pa.Table
    a: pa.Table
    b: pa.Table


def split(table: pa.Table, schema: Schema, holdout: Holdout, *, root: Path, allowed: Sequence[Path] = ()) -> Split:
    """Divide by a share, by groups, by a date, or take the holdout from a file of its own; each part keeps its order.

    Raises SourceError where a part would be without rows, RecipeError where the recipe names no fitting column.
    """
    if isinstance(holdout, str):
        other = read_alike(holdout, schema, root=root, allowed=allowed)
        return _halved(table, other, _numbered_hashes(other))
    if isinstance(holdout, HoldoutBy):
        hashes = row_hashes(table, [_column(holdout.by, schema, "by")])
        is_held = _uniform(hashes) < _GROUP_SHARE
    else:
        hashes = _numbered_hashes(table)
        is_held = _later(table, schema, holdout) if isinstance(holdout, HoldoutAfter) else _uniform(hashes) < holdout
    held = pa.array(is_held)
    return _halved(table.filter(pc.invert(held)), table.filter(held), hashes[is_held])


def _numbered_hashes(table: pa.Table) -> Lanes:
    """Hashes of (row, occurrence number): equal rows get different ones, and the same set of them in any order; (rows, 2)."""
    hashes = row_hashes(table, table.column_names)
    order = np.lexsort((hashes[:, 1], hashes[:, 0]))  # stable, so that occurrences are counted in the table's order
    sorted_hashes = hashes[order]
    is_first = np.ones(len(hashes), dtype=np.bool_)
    is_first[1:] = (sorted_hashes[1:] != sorted_hashes[:-1]).any(axis=1)
    place = np.arange(len(hashes))
    occurrence = np.empty(len(hashes), dtype=np.uint64)
    occurrence[order] = place - np.maximum.accumulate(np.where(is_first, place, 0))
    return mix(hashes + mix(occurrence)[:, None])


def _uniform(hashes: Lanes) -> NDArray[np.float64]:
    """The first lane as a number in [0, 1); (rows,)."""
    return (hashes[:, 0] >> np.uint64(11)).astype(np.float64) * 2.0**-53


def _later(table: pa.Table, schema: Schema, holdout: HoldoutAfter) -> NDArray[np.bool_]:
    """True for the rows dated later than `after`; a row without a date stays in train."""
    dated = [column.name for column in schema if column.kind in _DATES]
    if holdout.column is None and len(dated) != 1:
        hint = (
            f"add column: NAME, one of {', '.join(dated)}"
            if dated
            else "override the kind of the column that holds dates"
        )
        raise RecipeError(f"the source has {len(dated)} date columns", where="source.holdout", hint=hint)
    column = schema[_column(holdout.column or dated[0], schema, "column")]
    if column.kind not in _DATES:
        what = f"the column {column.name} is of kind {column.kind}, no date"
        raise RecipeError(what, where="source.holdout.column", hint="override its kind under source.columns")
    try:
        cutoff = moment(holdout.after, column.arrow)
    except ValueError:
        what = f"{holdout.after} cannot be read as {column.kind}"
        raise RecipeError(what, where="source.holdout.after", hint="write it as 2026-01-31") from None
    later = pc.fill_null(pc.greater(table[column.name], cutoff), False)
    return np.asarray(later.to_numpy(), dtype=np.bool_)


def _column(name: str, schema: Schema, key: str) -> str:
    if name not in schema:
        near = difflib.get_close_matches(name, schema.names, n=1)
        hint = f"did you mean {near[0]}?" if near else f"the columns are: {', '.join(schema.names[:20])}"
        raise RecipeError(f"the source has no column {name}", where=f"source.holdout.{key}", hint=hint)
    return name


def _halved(train: pa.Table, held: pa.Table, hashes: Lanes) -> Split:
    """The holdout in two halves by a bit of the other lane; `hashes` are those of the holdout's rows."""
    in_a = pa.array((hashes[:, 1] >> np.uint64(63)) == 0)
    parts = Split(train, held.filter(in_a), held.filter(pc.invert(in_a)))
    for name, part in (("train", parts.train), ("holdout half A", parts.a), ("holdout half B", parts.b)):
        if part.num_rows == 0:
            rows = f"{train.num_rows:,} rows for train and {held.num_rows:,} for the holdout"
            hint = "give more rows, or another source.holdout"
            raise SourceError(f"the split leaves {name} empty: {rows}", where="source.holdout", hint=hint)
    return parts
