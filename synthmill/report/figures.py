"""One figure a column: its distributions, and what the evaluators say of it alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa

from synthmill.report.cells import number, share
from synthmill.report.charts import Chart, column_chart
from synthmill.scoring.histograms import Histogram

_TELLING = "gives away"  # left out where the detector found nothing to tell rows apart by
# What is said beside a column's name: the word, the table and its field, how to write the number.
_NOTES: tuple[tuple[str, str, str, Callable[[float | None], str]], ...] = (
    ("shape", "fidelity/shape/columns", "value", number),
    ("trend", "fidelity/trend/columns", "value", number),
    (_TELLING, "fidelity/c2st/columns", "importance", share),
)
MOST = 400  # figures on one page, which is to stay under 3 MB


@dataclass(frozen=True, slots=True)
class Figure:
    """A column's chart; `notes` as (word, number). `likeness` is its shape, 1 where it was not measured, and orders the figures."""

    name: str
    kind: str
    chart: Chart
    notes: tuple[tuple[str, str], ...]
    likeness: float


def column_figures(histograms: Sequence[Histogram], tables: Mapping[str, pa.Table]) -> list[Figure]:
    """In the order of the columns; of more than MOST those that are least alike, and report.json has the others."""
    said = [(word, _by_column(tables.get(table), field), write) for word, table, field, write in _NOTES]
    said = [(word, values, write) for word, values, write in said if word != _TELLING or any(values.values())]
    shapes = _by_column(tables.get("fidelity/shape/columns"), "value")
    figures = [
        Figure(
            name=one.column,
            kind=one.kind,
            chart=column_chart(one, place),
            notes=tuple((word, write(values[one.column])) for word, values, write in said if one.column in values),
            likeness=shapes.get(one.column, 1.0),
        )
        for place, one in enumerate(histograms)
    ]
    least_alike = sorted(range(len(figures)), key=lambda place: figures[place].likeness)[:MOST]
    return [figures[place] for place in sorted(least_alike)]


def _by_column(table: pa.Table | None, field: str) -> dict[str, float]:
    """One number for each column, where the table is there and has it."""
    if table is None or not {"column", field} <= set(table.column_names):
        return {}
    return dict(zip(table["column"].to_pylist(), table[field].to_pylist(), strict=True))
