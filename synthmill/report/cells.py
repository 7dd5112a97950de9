"""Numbers and cells as a reader wants them: as many digits as carry meaning, an absent one as a dash."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from synthmill.evaluator import Interval

ABSENT = "–"
_LONGEST = 80  # characters of one cell
_CALENDAR = np.array(["0001-01-02", "9999-12-30"], "datetime64[D]")  # a day less, for time zones
_MOST_ROWS = 200  # of one table on the page; report.json has them all

Cell = str | int | float | bool | None


@dataclass(frozen=True, slots=True)
class Grid:
    """A table as text: which columns hold numbers, and how many rows there are beside those shown."""

    head: tuple[str, ...]
    is_number: tuple[bool, ...]
    rows: tuple[tuple[str, ...], ...]
    more: int = 0


def number(value: float | None) -> str:
    """Three decimals; two digits where that would leave nothing."""
    if value is None or not math.isfinite(value):
        return ABSENT
    if value and abs(value) < 0.0005:
        return f"{value:.1e}"
    return f"{value:.3f}" if abs(value) < 100 else f"{value:,.0f}"


def plain(value: float | None) -> str:
    """A number of the data: no decimals that it does not have."""
    return ABSENT if value is None or not math.isfinite(value) else f"{value:.6g}"


def share(value: float | None) -> str:
    """A share of rows in percent."""
    if value is None or not math.isfinite(value):
        return ABSENT
    percent = 100 * value
    return f"{percent:.0f} %" if percent >= 10 else f"{percent:.1f} %" if percent >= 0.1 or not percent else "< 0.1 %"


def span(interval: Interval | None) -> str:
    """An interval as `0.850 to 0.950`."""
    return ABSENT if interval is None else f"{number(interval[0])} to {number(interval[1])}"


def grid(table: pa.Table, write: Callable[[float | None], str] = number) -> Grid:
    """The first rows of a table, as text; `write` says how a float is written."""
    is_number = tuple(pa.types.is_floating(kind) or pa.types.is_integer(kind) for kind in table.schema.types)
    shown = _with_sayable_dates(table.slice(0, _MOST_ROWS))
    columns = [[_text(cell.as_py(), write) for cell in column] for column in shown.columns]
    rows = tuple(zip(*columns, strict=True))
    return Grid(tuple(table.column_names), is_number, rows, table.num_rows - shown.num_rows)


def sample_rows(samples: pa.Table, names: Sequence[str], most: int) -> Grid:
    """The first rows of data, whose numbers are written as they are."""
    return grid(samples.select(list(names)).slice(0, most), plain)


def records(table: pa.Table) -> list[dict[str, Cell]]:
    """The rows as JSON takes them: dates as text, no NaN, bytes left out."""
    return [{name: _plain(value) for name, value in row.items()} for row in _with_sayable_dates(table).to_pylist()]


def _with_sayable_dates(table: pa.Table) -> pa.Table:
    """Columns with years that Python's dates do not reach as text, moments in UTC."""
    for i, column in enumerate(table.columns):
        if pa.types.is_date32(column.type) or pa.types.is_timestamp(column.type):
            naive = column if pa.types.is_date32(column.type) else column.cast(pa.timestamp(column.type.unit))
            moments = naive.to_numpy()  # a missing one is NaT, which lies nowhere
            if ((moments < _CALENDAR[0]) | (moments > _CALENDAR[1])).any():
                text = [None if np.isnat(moment) else str(moment) for moment in moments]
                table = table.set_column(i, table.field(i).name, pa.array(text, pa.string()))
    return table


def _plain(value: object) -> Cell:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, str | int | bool):
        return value
    return None if isinstance(value, bytes | Mapping) else str(value)


def _text(value: object, write: Callable[[float | None], str]) -> str:
    if value is None:
        return ABSENT
    if isinstance(value, bool | str):
        text = str(value)
        return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"
    if isinstance(value, int):
        return f"{value:,}"
    return write(value) if isinstance(value, float) else str(value)
