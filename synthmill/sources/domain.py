"""Columns that the recipe describes: what their cells can be, and rows of a source brought into that.

Each row is changed, or left out, by itself alone: what becomes of it depends on the recipe and on no other row.
"""

from __future__ import annotations

import re
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from synthmill.columns import Column, Domain, Kind, Schema
from synthmill.domains import labels, limits
from synthmill.dtypes import Note
from synthmill.errors import RecipeError
from synthmill.spec import ColumnOverride

_DATE = re.compile(r"\d{4}-\d\d-\d\d")
_RANGES = ("number", "integer", "date", "datetime", "time")
_LABELS = ("category", "boolean")
_HOW = {True: "cells moved to the recipe's bounds", False: "cells made missing, as the recipe has no such label"}


def domain_of(override: ColumnOverride) -> Domain | None:
    """What the override says of the cells; None where it leaves them to the source."""
    if override.bounds is None and override.values is None:
        return None
    return Domain(bounds=override.bounds, values=override.values, decimals=override.decimals)


def kind_of(domain: Domain, asked: Kind | None, where: str) -> Kind:
    """The kind that a domain is of; RecipeError where it cannot be the one that is asked for, or does not tell."""
    told = _kind_of_bounds(domain.bounds) if domain.bounds else _kind_of_values(domain.values or ())
    kind = asked or told
    if kind is None:
        raise RecipeError("these bounds do not tell the column's kind", where=where, hint="add kind: datetime or time")
    if kind not in (_RANGES if domain.bounds else _LABELS):
        has, needs = ("bounds", "values") if domain.bounds else ("values", "bounds")
        hint = f"give {needs}, or another kind" if kind in (*_RANGES, *_LABELS) else f"leave {has} out"
        raise RecipeError(f"a column of kind {kind} has no {has}", where=where, hint=hint)
    return kind


def _kind_of_bounds(bounds: tuple[object, object]) -> Kind | None:
    if all(isinstance(bound, int) for bound in bounds):
        return "integer"
    if all(isinstance(bound, int | float) for bound in bounds):
        return "number"
    return "date" if all(isinstance(b, str) and _DATE.fullmatch(b) for b in bounds) else None


def _kind_of_values(values: tuple[object, ...]) -> Kind:
    return "boolean" if all(isinstance(value, bool) for value in values) else "category"


def label_type(domain: Domain) -> pa.DataType:
    """The Arrow type of the labels as the recipe writes them: booleans, integers, else text."""
    values = domain.values or ()
    if all(isinstance(value, bool) for value in values):
        return pa.bool_()
    is_whole = all(isinstance(value, int) and not isinstance(value, bool) for value in values)
    return pa.int64() if is_whole else pa.string()


def confine(table: pa.Table, schema: Schema) -> tuple[pa.Table, tuple[Note, ...]]:
    """The rows within the recipe's domains: numbers beyond the bounds are moved to them, other labels become missing.

    Rows that miss a cell of a described column without `missing: true` are left out.
    """
    notes, described = [], [column for column in schema if column.domain is not None]
    for column in described:
        cells = table[column.name]
        confined = _confined(cells, column)
        if changed := _changed(cells, confined):
            notes.append(Note(_HOW[column.kind in _RANGES], f"{column.name} ({changed:,})"))
        table = table.set_column(table.column_names.index(column.name), column.name, confined)
    for column in described:
        if not column.nullable and (without := table[column.name].null_count):
            notes.append(Note("rows left out, since the recipe allows no missing cell", f"{column.name} ({without:,})"))
            table = table.filter(pc.is_valid(table[column.name]))
    return table, tuple(notes)


def _confined(cells: pa.ChunkedArray, column: Column) -> pa.ChunkedArray:
    if (ends := limits(column)) is not None:
        return pc.min_element_wise(pc.max_element_wise(cells, ends[0], skip_nulls=False), ends[1], skip_nulls=False)
    if (known := labels(column)) is not None:
        return pc.if_else(pc.is_in(cells, value_set=known), cells, pa.scalar(None, cells.type))
    return cells


def _changed(cells: pa.ChunkedArray, confined: pa.ChunkedArray) -> int:
    same: Any = pc.fill_null(pc.equal(cells, confined), False)
    return int(cells.length() - cells.null_count - (pc.sum(same).as_py() or 0))
