"""Conditions on columns: what `where` and `balance` ask of a row, and which rows meet it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Literal

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import BaseModel, ConfigDict, Field, model_validator

from synthmill.columns import Column, Value
from synthmill.dtypes import moment
from synthmill.errors import RecipeError

_MOST_SHOWN = 3  # of a list that stands where a condition belongs


class Condition(BaseModel):
    """Exactly one of `is`, `in` and `between` (both ends included)."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True, strict=True)

    is_: Value | None = Field(default=None, alias="is", description="the one value allowed")
    in_: tuple[Value, ...] | None = Field(default=None, alias="in", min_length=1, description="the values allowed")
    between: tuple[Value, Value] | None = Field(default=None, description="lowest and highest value allowed")

    @model_validator(mode="after")
    def _one_of_three(self) -> Condition:
        if len(self.model_fields_set) != 1 or all(v is None for v in (self.is_, self.in_, self.between)):
            raise ValueError("give exactly one of is, in, between")
        return self

    @property
    def operator(self) -> Literal["is", "in", "between"]:
        """Which of the three it is."""
        return "is" if self.is_ is not None else "in" if self.in_ is not None else "between"

    @property
    def given(self) -> tuple[Value, ...]:
        """The values that it names."""
        return self.in_ or self.between or ((self.is_,) if self.is_ is not None else ())

    def __str__(self) -> str:
        if self.between is not None:
            return f"{self.between[0]}..{self.between[1]}"
        return str(self.is_) if self.in_ is None else "|".join(map(str, self.in_))


def meant_by(bare: object) -> str:
    """The condition that somebody meant who wrote a bare value or list in its place, as a recipe has it."""
    match bare:
        case bool() | int() | float() | str():
            return f"{{is: {_quoted(bare)}}}"
        case [low, high] if _is_number(low) and _is_number(high):
            return f"{{in: [{low}, {high}]}}, or {{between: [{low}, {high}]}} for a range"
        case [_, *_]:
            shown = [*map(_quoted, bare[:_MOST_SHOWN]), *(["..."] if len(bare) > _MOST_SHOWN else [])]
            return f"{{in: [{', '.join(shown)}]}}"
        case _:
            return "{is: VALUE}, {in: [VALUE, ...]} or {between: [LOW, HIGH]}"


def _quoted(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def mask(
    values: pa.ChunkedArray | pa.Array, condition: Condition, column: Column, *, where: str = ""
) -> pa.ChunkedArray:
    """True where a cell meets the condition; a missing cell never does. A value of the wrong type is a RecipeError."""
    wanted = typed(condition.given, column, where=where)
    if column.dtype == "double":  # is_in tells -0.0 from 0.0
        values, wanted = pc.add(values, 0.0), pc.add(wanted, 0.0)
    if condition.between is not None:
        if pc.greater(wanted[0], wanted[1]).as_py():
            raise RecipeError(f"{condition}: the lowest value is above the highest", where=where, hint="swap the two")
        met = pc.and_(pc.greater_equal(values, wanted[0]), pc.less_equal(values, wanted[1]))
    else:
        met = pc.is_in(values, value_set=wanted)
    return pc.fill_null(met, False)


def typed(values: Iterable[Value], column: Column, *, where: str = "") -> pa.Array:
    """Values of a recipe under the column's Arrow type; one that is not of that type is a RecipeError."""
    values = tuple(values)
    try:
        return pa.array([_parse(value, column) for value in values], type=column.arrow)
    except (pa.ArrowInvalid, pa.ArrowTypeError, ValueError, TypeError, OverflowError) as error:
        raise RecipeError(
            f"column {column.name} holds {column.dtype}, and {', '.join(map(str, values))} cannot be read as that",
            where=where,
            hint="give a value of the column's type, or override its kind under source.columns",
        ) from error


def _parse(value: Value, column: Column) -> object:
    is_text_for_number = isinstance(value, str) and column.dtype in ("int64", "double")
    is_cut = isinstance(value, float) and column.dtype == "int64" and not value.is_integer()
    if isinstance(value, bool) != (column.dtype == "bool") or is_text_for_number or is_cut:
        raise TypeError(value)
    if column.dtype in ("timestamp", "date32", "time64"):
        return moment(str(value), column.arrow)
    return str(value) if column.dtype == "string" else value


def meeting(table: pa.Table, where: Mapping[str, Condition], columns: Mapping[str, Column]) -> pa.ChunkedArray:
    """True for the rows that meet every condition; shape (rows,)."""
    met = pa.chunked_array([pa.repeat(pa.scalar(True), table.num_rows)])
    for name, condition in where.items():
        met = pc.and_(met, mask(table[name], condition, columns[name]))
    return met
