"""Arrow types of any file to the few of `columns.Dtype`, and text to the type that all of it parses as.

Text of a csv becomes, by the first rule that every value meets: integers without leading zeros (so that the postcode 02134 stays as it is),
numbers, true and false. In every format text that is all ISO 8601 dates, datetimes or times becomes that. Anything else stays text.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from synthmill.columns import IMAGE_TYPE
from synthmill.errors import SourceError

_CLOCK = r"([01]\d|2[0-3]):[0-5]\d(:[0-5]\d(\.\d{1,6})?)?"
_DAY = r"\d{4}-\d\d-\d\d"
_UTC = pa.timestamp("us", "UTC")
_SCALARS: tuple[tuple[str, pa.DataType], ...] = (
    (r"^-?(0|[1-9]\d*)$", pa.int64()),
    (r"^[+-]?((0|[1-9]\d*)(\.\d*)?|\.\d+)([eE][+-]?\d+)?$|^[+-]?(inf|Inf|infinity|Infinity)$", pa.float64()),
    (r"^([Tt]rue|[Ff]alse|TRUE|FALSE)$", pa.bool_()),
)
_MOMENTS: tuple[tuple[str, pa.DataType], ...] = (
    (f"^{_DAY}$", pa.date32()),
    (f"^{_DAY}([T ]{_CLOCK})?$", pa.timestamp("us")),
    (f"^{_DAY}[T ]{_CLOCK}(Z|[+-]\\d\\d:?\\d\\d)$", _UTC),
    (f"^{_CLOCK}$", pa.time64("us")),
)
_FIRST_ROWS = 1000
_STANDARD: tuple[tuple[Callable[[pa.DataType], bool], pa.DataType], ...] = (
    (pa.types.is_boolean, pa.bool_()),
    (pa.types.is_integer, pa.int64()),
    (pa.types.is_floating, pa.float64()),
    (pa.types.is_decimal, pa.float64()),
    (pa.types.is_date, pa.date32()),
    (pa.types.is_time, pa.time64("us")),
    (pa.types.is_string, pa.string()),
    (pa.types.is_large_string, pa.string()),
    (pa.types.is_string_view, pa.string()),
    (pa.types.is_null, pa.string()),
)
_PATTERNS = {kind: pattern for pattern, kind in (*_SCALARS, *_MOMENTS)}
MISSING = pa.array(pyarrow.csv.ConvertOptions().null_values)  # "", NA, N/A, NaN, null and their kin


class Note(NamedTuple):
    """What reading changed, said in words that hold no cell; the columns of one `what` are listed together."""

    what: str
    column: str = ""


@dataclass(frozen=True, slots=True)
class Raw:
    """A table as its file types it, and notes for the person."""

    table: pa.Table
    notes: tuple[Note, ...] = ()


@dataclass(frozen=True, slots=True)
class Typed:
    """A column under a type of `columns.Dtype`, and what a person should know about how it came there."""

    values: pa.ChunkedArray
    notes: tuple[Note, ...] = ()


def from_csv(name: str, raw: pa.ChunkedArray) -> Typed:
    """Text cells of a csv, typed: spaces around values are stripped, and empty cells and the NA tokens are missing."""
    notes: list[Note] = []
    values = raw
    trimmed = pc.ascii_trim_whitespace(values)
    has_spaces = _letters(trimmed) < _letters(values)
    if has_spaces:
        values = trimmed
    is_missing = pc.is_in(values, value_set=MISSING)
    words = pc.sum(pc.and_(is_missing, pc.not_equal(values, ""))).as_py() or 0
    if pc.any(is_missing).as_py():
        values = pc.if_else(is_missing, pa.scalar(None, pa.string()), values)
    values = _parsed(values, _SCALARS)
    if pa.types.is_string(values.type):
        if has_spaces:
            notes.append(Note("spaces around values were stripped", name))
        if words:
            notes.append(Note("cells that say NA, null or nan are read as missing", name))
    return Typed(values, tuple(notes))


def csv_cells(raw: pa.ChunkedArray) -> pa.ChunkedArray:
    """Text cells of a csv, still text: without spaces around them, null where they are empty or say so."""
    values = pc.ascii_trim_whitespace(raw)
    return pc.if_else(pc.is_in(values, value_set=MISSING), pa.scalar(None, pa.string()), values)


def normalise(name: str, values: pa.ChunkedArray, where: str) -> Typed:
    """Any Arrow column to one of `columns.Dtype`: values are kept, what is lossy is noted, what cannot be is a SourceError."""
    notes: list[Note] = []
    if pa.types.is_dictionary(values.type):
        values = values.cast(values.type.value_type)
    place = f"{where}, column {name}"
    wanted = _standard_type(values.type, place)
    if pa.types.is_decimal(values.type):
        notes.append(Note("decimals became doubles", name))
    if pa.types.is_null(values.type):
        notes.append(Note("every value is missing", name))
    if wanted != values.type:
        values, lost = _cast(values, wanted, place)
        notes += [Note("times were cut to microseconds", name)] if lost else []
    if pa.types.is_string(wanted):
        values = _parsed(values, _MOMENTS)
        notes += [Note("times are kept in UTC", name)] if values.type == _UTC else []
    if pa.types.is_floating(wanted):
        values = _without_nan(values, place)
    return Typed(values, tuple(notes))


def parse(values: pa.ChunkedArray, wanted: pa.DataType) -> pa.ChunkedArray | None:
    """Text as `wanted`, or None where at least one value does not read as that."""
    return _cast_text(values, wanted) if _looks_like(values, wanted) else None


def moment(text: str, wanted: pa.DataType) -> pa.Scalar:
    """An ISO 8601 date or time of a recipe; without an offset it is local to the time zone of `wanted`. ValueError for other text."""
    cell = pa.chunked_array([[text]])
    found = parse(cell, wanted)
    if found is None and pa.types.is_timestamp(wanted) and wanted.tz is not None:
        local = parse(cell, pa.timestamp("us"))
        found = None if local is None else pc.assume_timezone(local, wanted.tz)
    if found is None:
        raise ValueError(text)
    return found[0]


def without_leading_zeros(values: pa.ChunkedArray) -> pa.ChunkedArray:
    """007 as 7, for text that a person calls a number."""
    return pc.replace_substring_regex(values, r"^([+-]?)0+(\d)", r"\1\2")


def count_unparsed(values: pa.ChunkedArray, wanted: pa.DataType) -> int:
    """How many cells do not read as `wanted`; slow, for the error message alone."""
    present = values.drop_null()
    is_shaped = pc.match_substring_regex(present, _pattern(wanted))
    counts = pc.value_counts(present.filter(is_shaped))
    texts, rows = counts.field("values"), counts.field("counts").to_pylist()
    no_value = sum(n for i, n in enumerate(rows) if _cast_text(pa.chunked_array([texts.slice(i, 1)]), wanted) is None)
    return int(len(present) - sum(rows) + no_value)


def _parsed(values: pa.ChunkedArray, types: tuple[tuple[str, pa.DataType], ...]) -> pa.ChunkedArray:
    if values.null_count == len(values):
        return values
    wanted = next((wanted for _, wanted in types if _looks_like(values, wanted)), None)
    parsed = None if wanted is None else _cast_text(values, wanted)
    return values if parsed is None else parsed


def _looks_like(values: pa.ChunkedArray, wanted: pa.DataType) -> bool:
    pattern = _pattern(wanted)
    # Most columns fail most patterns, and do so in their first rows.
    return all(
        pc.all(pc.match_substring_regex(cells, pattern), min_count=0).as_py()
        for cells in (values.slice(0, _FIRST_ROWS), values)
    )


def _pattern(wanted: pa.DataType) -> str:
    is_zoned = pa.types.is_timestamp(wanted) and wanted.tz is not None
    return _PATTERNS[_UTC if is_zoned else wanted]


def _letters(values: pa.ChunkedArray) -> int:
    return int(pc.sum(pc.binary_length(values)).as_py() or 0)


def _cast_text(values: pa.ChunkedArray, wanted: pa.DataType) -> pa.ChunkedArray | None:
    try:
        if pa.types.is_time(wanted):
            values = pc.binary_join_element_wise("1970-01-01", values, " ").cast(pa.timestamp("us"))
        return values.cast(wanted)
    except pa.ArrowInvalid:  # the right shape and yet no value: 2020-02-31, or an integer beyond 64 bits
        return None


def _standard_type(given: pa.DataType, where: str) -> pa.DataType:
    if pa.types.is_timestamp(given):
        return pa.timestamp("us", given.tz)
    if given.equals(IMAGE_TYPE):
        return given
    for is_such, standard in _STANDARD:
        if is_such(given):
            return standard
    hint = (
        "flatten or drop it; images are a struct of bytes and path"
        if pa.types.is_nested(given)
        else "convert or drop it"
    )
    raise SourceError(f"the column holds {given}, which cannot be modelled", where=where, hint=hint)


def _cast(values: pa.ChunkedArray, wanted: pa.DataType, where: str) -> tuple[pa.ChunkedArray, bool]:
    try:
        return values.cast(wanted), False
    except pa.ArrowInvalid as error:
        if pa.types.is_temporal(wanted):
            return values.cast(wanted, safe=False), True
        hint = "store it as text, or in a smaller unit"
        what = f"the column's {values.type} does not fit {wanted}"
        raise SourceError(what, where=where, hint=hint) from error


def _without_nan(values: pa.ChunkedArray, where: str) -> pa.ChunkedArray:
    infinite = pc.sum(pc.is_inf(values)).as_py()
    if infinite:
        hint = "replace or drop them: they have no place on a scale"
        raise SourceError(f"{infinite:,} values are infinite", where=where, hint=hint)
    is_nan = pc.is_nan(values)
    return pc.if_else(is_nan, pa.scalar(None, pa.float64()), values) if pc.any(is_nan).as_py() else values
