"""Second tables: rows that belong to rows of the first one, read, checked, split with their parents and joined with them.

A family is never split: children follow their parent into train, A or B. To the first table each child table adds a column `_NAME`,
how many of its rows belong to the row, so that one model makes a row and its counts together. A child's row is joined with its
parent's columns (`parent.COLUMN`, the counts among them) and with its place among its siblings, in the order of the file.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from synthmill.columns import Column, Schema
from synthmill.errors import RecipeError, SourceError
from synthmill.rows import row_hashes
from synthmill.sources import SourceTable, read
from synthmill.sources.split import Split
from synthmill.spec import Child, ColumnOverride, Recipe, Source

PARENT = "parent."  # before the name of each of the parent's columns
PLACE = f"{PARENT}_place"  # among the siblings, from 1
_MOST_ORPHANS = 0.01  # of a child table's rows may name no row of the first table


@dataclass(frozen=True, slots=True)
class RealChild:
    """The real rows of one child table.

    `source` is the file as it was read; `parts` are its rows without the parent's key, joined under the schema `joined`.
    """

    name: str
    key: str
    source: SourceTable
    joined: Schema
    parts: Split


@dataclass(frozen=True, slots=True)
class Family:
    """The first table with a count column for each child table, and the children."""

    source: SourceTable
    parts: Split
    children: tuple[RealChild, ...]


def count_column(child: str) -> str:
    """The column of the first table that says how many rows of a child table belong to a row."""
    return f"_{child}"


def context_names(joined: Schema) -> tuple[str, ...]:
    """The columns of a joined schema that a child has from its parent and does not make."""
    return tuple(name for name in joined.names if name.startswith(PARENT))


def overrides_of(source: Source) -> Mapping[str, ColumnOverride]:
    """The recipe's, and the key as an id, so that it is made anew and models do not read it."""
    keys = {} if source.key is None else {source.key: ColumnOverride(kind="id")}
    return {**keys, **source.columns}


def read_family(
    recipe: Recipe, source: SourceTable, parts: Split, *, root: Path, allowed: Sequence[Path] = ()
) -> Family:
    """Read the recipe's children beside its split source.

    Raises SourceError for a key that is missing or not unique and for more than a few orphans, which are dropped with a note otherwise;
    RecipeError for names that clash.
    """
    if not recipe.children:
        return Family(source, parts, ())
    assert recipe.source.key is not None, "the recipe was checked"
    _check_parents(recipe, source)
    key, tables = recipe.source.key, {}
    for name, child in recipe.children.items():
        tables[name] = _read_child(name, child, source.table[key], root=root, allowed=allowed)
    owners = {name: tables[name].table[child.source.parent] for name, child in recipe.children.items()}
    counts = tuple(Column(name=count_column(name), kind="integer", dtype="int64") for name in tables)
    schema = source.schema.model_copy(update={"columns": (*source.schema.columns, *counts)})
    whole, train, a, b = (
        _with_counts(table, key, owners, schema) for table in (source.table, parts.train, parts.a, parts.b)
    )
    children = []
    for name, child in recipe.children.items():
        joined = _joined_schema(tables[name].schema, child, schema)
        sides = Split(*(_join(tables[name].table, child, part, key, joined) for part in (train, a, b)))
        _refuse_empty(name, sides)
        children.append(RealChild(name, key, tables[name], joined, sides))
    return Family(SourceTable(whole, schema, source.notes), Split(train, a, b), tuple(children))


def _check_parents(recipe: Recipe, source: SourceTable) -> None:
    """The key names each row once, and no column stands where a count belongs."""
    assert recipe.source.key is not None, "the recipe was checked"
    keys = source.table[recipe.source.key]
    if isinstance(recipe.source.holdout, str):
        what, hint = "a holdout in a file of its own has no children", "give a share, {by: COLUMN} or {after: DATE}"
        raise RecipeError(what, where="source.holdout", hint=hint)
    if keys.null_count:
        what = f"the key is missing in {keys.null_count:,} of {len(keys):,} rows"
        raise SourceError(what, where="source.key", hint="drop those rows, or name another column")
    if twice := len(keys) - len(pc.unique(keys)):
        what = f"{twice:,} of {len(keys):,} rows have a key that another row has"
        raise SourceError(what, where="source.key", hint="name the column whose values all differ")
    for name in recipe.children:
        if count_column(name) in source.schema:
            hint = "rename the column, or call the child something else"
            raise RecipeError(
                f"the source has a column {count_column(name)} itself", where=f"children.{name}", hint=hint
            )


def _read_child(name: str, child: Child, keys: pa.ChunkedArray, *, root: Path, allowed: Sequence[Path]) -> SourceTable:
    """A child table without its orphans."""
    where, wanted = f"children.{name}.source", child.source
    overrides = {wanted.parent: ColumnOverride(kind="id"), **wanted.columns}
    try:
        found = read(wanted.path, root=root, overrides=overrides, target=wanted.target, allowed=allowed)
    except (RecipeError, SourceError) as error:  # it names keys of `source`
        raise type(error)(error.what, where=within(name, error.where), hint=error.hint) from error
    owners = found.table[wanted.parent]
    if owners.type != keys.type:
        what = f"{wanted.parent} holds {owners.type} and the key it refers to {keys.type}"
        raise SourceError(what, where=f"{where}.parent", hint="write both the same way")
    if clash := [column for column in found.schema.names if column.startswith(PARENT)]:
        raise RecipeError(f"the column name {clash[0]} is taken for the parent's", where=where, hint="rename it")
    has_parent = pc.is_in(owners, value_set=pc.unique(keys))
    orphans = found.table.num_rows - (pc.sum(has_parent).as_py() or 0)
    if orphans > _MOST_ORPHANS * found.table.num_rows:
        what = f"{orphans:,} of {found.table.num_rows:,} rows name no row of the first table"
        hint = f"up to {_MOST_ORPHANS:.0%} are dropped; mend the rows, or name another column"
        raise SourceError(what, where=f"{where}.parent", hint=hint)
    notes = (*found.notes, *([f"dropped {orphans:,} rows that name no row of the first table"] if orphans else []))
    return SourceTable(found.table.filter(has_parent), found.schema, notes)


def within(name: str, where: str) -> str:
    """A key of the recipe as it stands below a child: `source.target` is `children.orders.source.target`."""
    return f"children.{name}.{where}" if where.startswith(("source", "rules", "scores", "gates")) else where


def _with_counts(table: pa.Table, key: str, owners: Mapping[str, pa.ChunkedArray], schema: Schema) -> pa.Table:
    for name, owner in owners.items():
        counted = pc.value_counts(owner)
        place = pc.index_in(table[key], value_set=pc.struct_field(counted, 0))
        counts = pc.fill_null(pc.struct_field(counted, 1).take(place.combine_chunks()), 0)
        table = table.append_column(count_column(name), counts)
    return table.cast(schema.arrow)


def _joined_schema(own: Schema, child: Child, parent: Schema) -> Schema:
    """The parent's columns first, so that generators that go column by column meet them before the child's own."""
    modelled = [column for column in parent if column.kind not in ("id", "text", "image")]
    context = [column.model_copy(update={"name": f"{PARENT}{column.name}"}) for column in modelled]
    place = Column(name=PLACE, kind="integer", dtype="int64")
    columns = (*context, place, *(column for column in own if column.name != child.source.parent))
    return Schema(columns=columns, target=own.target)


def _join(table: pa.Table, child: Child, parents: pa.Table, key: str, joined: Schema) -> pa.Table:
    """The children of one part's parents, in the order of the file."""
    owner = pc.index_in(table[child.source.parent], value_set=parents[key].combine_chunks())
    is_here = owner.is_valid()
    own, rows = table.filter(is_here), owner.drop_null().combine_chunks()
    columns = {f"{PARENT}{name}": parents[name].take(rows) for name in parents.column_names}
    columns[PLACE] = pa.chunked_array([places(rows.to_numpy())])
    columns |= {name: own[name] for name in own.column_names}
    return pa.table({name: columns[name] for name in joined.names}).cast(joined.arrow)


def places(owners: NDArray[np.int64]) -> pa.Array:
    """How many rows of the same owner there are up to each row, itself included; (rows,)."""
    order = np.argsort(owners, kind="stable")
    ordered = owners[order]
    is_first = np.ones(len(owners), dtype=np.bool_)
    is_first[1:] = ordered[1:] != ordered[:-1]
    number = np.arange(len(owners))
    place = np.empty(len(owners), dtype=np.int64)
    place[order] = number - np.maximum.accumulate(np.where(is_first, number, 0)) + 1
    return pa.array(place)


def one_a_family(joined: pa.Table, context: Sequence[str], count: str) -> NDArray[np.bool_]:
    """True for one row of each family, at a place that a hash of what its parent gave it chooses; (rows,).

    Siblings hang together. A detector that meets them in two folds knows them by their parent, and intervals take rows for
    independent: so scores meet one row of a family, of real and of made rows alike.
    """
    parents = row_hashes(joined, [name for name in context if name != PLACE])
    chosen = parents[:, 0] % joined[count].to_numpy().astype(np.uint64) + np.uint64(1)
    is_chosen: NDArray[np.bool_] = chosen == joined[PLACE].to_numpy().astype(np.uint64)
    return is_chosen


def _refuse_empty(name: str, parts: Split) -> None:
    for part, rows in (("train", parts.train), ("holdout half A", parts.a), ("holdout half B", parts.b)):
        if rows.num_rows == 0:
            what = f"no row of {name} belongs to a row of {part}"
            raise SourceError(what, where=f"children.{name}.source", hint="give more rows, or another source.holdout")
