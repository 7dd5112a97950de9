"""The evaluators' own tables: what the report knows how to draw, and every other one as a plain table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import pyarrow as pa

from synthmill.report.cells import Grid, grid, share
from synthmill.report.charts import Chart, detail_chart
from synthmill.report.score_table import key_of, question, rank

_CORRELATIONS = "fidelity/trend/correlations"
_RANGES = "fidelity/c2st/ranges"
_DRAWN = {_CORRELATIONS: {"column", "other", "synthetic", "real"}, _RANGES: {"column", "range", "synthetic", "real"}}


@dataclass(frozen=True, slots=True)
class Tell:
    """A range of a column that gives rows away, with the shares of both sides that lie in it."""

    column: str
    range: str
    synthetic: str
    real: str


@dataclass(frozen=True, slots=True)
class Detail:
    """One evaluator's other tables: as charts where there is a drawing of them, and each as it is, by name."""

    key: str
    question: str
    charts: tuple[Chart, ...]
    tables: tuple[tuple[str, Grid], ...]


def drawable(tables: Mapping[str, pa.Table], name: str) -> pa.Table | None:
    """A table that has a drawing of its own, where it is there with the columns that the drawing needs, and holds a row."""
    table = tables.get(name)
    needed = _DRAWN.get(name, {"column", "importance"})
    return table if table is not None and table.num_rows and needed <= set(table.column_names) else None


def tells(tables: Mapping[str, pa.Table], most: int = 12) -> list[Tell]:
    """The ranges by which the detector tells synthetic from real, the most telling first."""
    table = drawable(tables, _RANGES)
    if table is None:
        return []
    rows = table.slice(0, most).to_pylist()
    return [Tell(row["column"], row["range"], share(row["synthetic"]), share(row["real"])) for row in rows]


def details(tables: Mapping[str, pa.Table]) -> list[Detail]:
    """All that has no section of its own, by evaluator, in the order of the scores."""
    shown = [name for name, table in tables.items() if name not in _DRAWN and table.num_rows]
    keys = sorted({key_of(name)[0] for name in shown}, key=rank)
    found = []
    for key in keys:
        own = [name for name in shown if key_of(name)[0] == key]
        charts = [chart for name in own if (chart := detail_chart(name, tables[name])) is not None]
        grids = [(key_of(name)[1], _in_words(grid(tables[name]))) for name in own]
        found.append(Detail(key, question(key), tuple(charts), tuple(grids)))
    return found


def _in_words(table: Grid) -> Grid:
    return replace(table, head=tuple(name.replace("_", " ") for name in table.head))
