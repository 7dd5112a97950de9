"""What each column is: kinds from types, names and counts of values, and the overrides of a recipe.

| dtype | kind, by the first rule that holds |
| --- | --- |
| double | number |
| int64 | id: all differ, and the name says so or they count up by one; category: at most two values, for the target 20; integer |
| bool, date32, timestamp, time64, image | boolean, date, datetime, time, image |
| string | category where it is the target; text: most differ, and they are long; id: all differ; category |
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from synthmill.columns import IMAGE_TYPE, Column, Domain, Dtype, Kind, Schema
from synthmill.dtypes import count_unparsed, parse, without_leading_zeros
from synthmill.errors import RecipeError, SourceError
from synthmill.sources.conform import convert
from synthmill.sources.domain import domain_of, kind_of, label_type
from synthmill.spec import ColumnOverride

_CLASSES = 20  # an integer target of so few values is a label
_TEXT_LETTERS = 40  # text is longer on average
_ID_NAME = re.compile(r"(?i:(^|[_\s.-])(id|uuid|guid|key|index|idx|row|no|nr|number)$)|[a-z](Id|ID|Key|No)$")
_KINDS: dict[pa.DataType, Kind] = {
    pa.float64(): "number",
    pa.bool_(): "boolean",
    pa.date32(): "date",
    pa.time64("us"): "time",
    IMAGE_TYPE: "image",
}
_DTYPES: dict[pa.DataType, Dtype] = {
    pa.float64(): "double",
    pa.int64(): "int64",
    pa.bool_(): "bool",
    pa.string(): "string",
    pa.date32(): "date32",
    pa.time64("us"): "time64",
    IMAGE_TYPE: "image",
}
# A kind that is asked for -> the types that can hold it, the first being what text is parsed as.
_HOLDERS: dict[Kind, tuple[pa.DataType, ...]] = {
    "number": (pa.float64(),),
    "integer": (pa.int64(),),
    "boolean": (pa.bool_(),),
    "category": (pa.string(), pa.int64(), pa.bool_()),
    "date": (pa.date32(),),
    "datetime": (pa.timestamp("us"),),
    "time": (pa.time64("us"),),
    "id": (pa.string(), pa.int64()),
    "text": (pa.string(),),
    "image": (IMAGE_TYPE,),
}


@dataclass(frozen=True, slots=True)
class ColumnSummary:
    """What may be printed of a column: counts and shares, no cell. `distinct` is None for images."""

    name: str
    kind: Kind
    dtype: Dtype
    missing: float  # share of the rows
    distinct: int | None
    is_target: bool

    def __str__(self) -> str:
        counts = "" if self.distinct is None else f", {self.distinct:,} values"
        missing = f", {self.missing:.1%} missing" if self.missing else ""
        return f"{self.name}: {self.kind} ({self.dtype}){counts}{missing}{', target' if self.is_target else ''}"


def infer(table: pa.Table, overrides: Mapping[str, ColumnOverride], target: str | None) -> tuple[pa.Table, Schema]:
    """The schema of a normalised table, and the table with the overridden columns converted.

    Raises RecipeError for a column that does not exist, SourceError for a kind that the values cannot be.
    """
    for name in (*overrides, *([target] if target is not None else [])):
        _require(name, table.column_names, "target" if name == target else f"columns.{name}")
    columns = []
    for index, name in enumerate(table.column_names):
        override = overrides.get(name, ColumnOverride())
        domain = domain_of(override)
        asked = override.kind if domain is None else kind_of(domain, override.kind, f"source.columns.{name}")
        if asked is not None:
            table = table.set_column(index, name, _as_kind(name, table[name], asked, domain))
        values = table[name]
        kind = asked or _kind(name, values, is_target=name == target)
        column = _column(name, kind, values)
        columns.append(
            column if domain is None else column.model_copy(update={"domain": domain, "nullable": override.missing})
        )
    schema = Schema(columns=tuple(columns), target=target)
    if target is not None and schema[target].kind in ("image", "id", "text"):
        what = f"the target {target} is of kind {schema[target].kind}, which nothing can be measured on"
        raise RecipeError(what, where="source.target", hint="name a number or a label")
    return table, schema


def describe(schema: Schema, table: pa.Table) -> list[ColumnSummary]:
    """One summary a column, in order; for printing."""
    rows = max(table.num_rows, 1)
    return [
        ColumnSummary(
            name=column.name,
            kind=column.kind,
            dtype=column.dtype,
            missing=table[column.name].null_count / rows,
            distinct=None if column.dtype == "image" else _distinct(table[column.name]),
            is_target=column.name == schema.target,
        )
        for column in schema
    ]


def _require(name: str, names: list[str], where: str) -> None:
    if name not in names:
        near = difflib.get_close_matches(name, names, n=1)
        hint = f"did you mean {near[0]}?" if near else f"the columns are: {', '.join(names[:20])}"
        raise RecipeError(f"the source has no column {name}", where=f"source.{where}", hint=hint)


def _column(name: str, kind: Kind, values: pa.ChunkedArray) -> Column:
    is_timestamp = pa.types.is_timestamp(values.type)
    dtype: Dtype = "timestamp" if is_timestamp else _DTYPES[values.type]
    timezone = values.type.tz if is_timestamp else None
    return Column(name=name, kind=kind, dtype=dtype, nullable=values.null_count > 0, timezone=timezone)


def _kind(name: str, values: pa.ChunkedArray, *, is_target: bool) -> Kind:
    if pa.types.is_timestamp(values.type):
        return "datetime"
    if pa.types.is_integer(values.type):
        return _kind_of_integers(name, values, is_target=is_target)
    if pa.types.is_string(values.type):
        return "category" if is_target else _kind_of_strings(values)
    return _KINDS[values.type]


def _kind_of_integers(name: str, values: pa.ChunkedArray, *, is_target: bool) -> Kind:
    distinct = _distinct(values)
    if distinct <= (_CLASSES if is_target else 2):
        return "category"
    if not is_target and distinct == len(values):
        numbers = values.to_numpy()
        if _ID_NAME.search(name) or bool((numbers[1:] - numbers[:-1] == 1).all()):
            return "id"
    return "integer"


def _kind_of_strings(values: pa.ChunkedArray) -> Kind:
    present = len(values) - values.null_count
    distinct = _distinct(values)
    letters = pc.mean(pc.utf8_length(values)).as_py() or 0
    if distinct > present / 2 and letters > _TEXT_LETTERS and pc.any(pc.match_substring(values, " ")).as_py():
        return "text"
    return "id" if distinct == present > 2 else "category"


def _distinct(values: pa.ChunkedArray) -> int:
    return int(pc.count_distinct(values, mode="only_valid").as_py())


def _as_kind(name: str, values: pa.ChunkedArray, kind: Kind, domain: Domain | None) -> pa.ChunkedArray:
    """The values under a type that can hold `kind`; labels that the recipe lists say which."""
    given, holders = values.type, _HOLDERS[kind]
    if domain is not None and domain.values is not None:
        holders = (label_type(domain),)
    if given in holders or (kind == "datetime" and pa.types.is_timestamp(given)):
        return values
    where = f"source.columns.{name}"
    if pa.types.is_string(given) and kind != "image":
        plain = without_leading_zeros(values) if kind in ("number", "integer") else values
        parsed = parse(plain, holders[0])
        if parsed is not None:
            return parsed
        failed = count_unparsed(plain, holders[0])
        what = f"{failed:,} of {len(values):,} rows do not read as {kind}"
        raise SourceError(what, where=where, hint="mend those rows, or take the inferred kind")
    for holder in holders:
        converted = convert(values, holder)
        if converted is not None:
            return converted
    raise SourceError(
        f"the column holds {given}, which cannot be of kind {kind}", where=where, hint="take the inferred kind"
    )
