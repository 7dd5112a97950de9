"""A difference as one HTML file in the look of the report: no network, synthetic rows' aggregates only."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from synthmill.diff.parts import Compared, Shift, Table
from synthmill.report.charts import Chart, column_chart
from synthmill.report.page import assets, chart_data
from synthmill.report.render import environment
from synthmill.scoring.histograms import Histogram

_MOST = 60  # charts a table
_SIDES = {"synthetic": "now", "real": "then"}  # as `compare` counted them


@dataclass(frozen=True, slots=True)
class Figure:
    """A column's chart, then and now, with how far it shifted."""

    shift: Shift
    chart: Chart


def render(compared: Compared) -> str:
    """The whole page. Everything that comes from data or recipe is escaped."""
    figures: dict[str, list[Figure]] = {}
    for table in compared.difference.tables:
        start = sum(map(len, figures.values()))
        figures[table.name] = list(_figures(table, compared.histograms.get(table.name, ()), start))
    drawn = [figure.chart for own in figures.values() for figure in own]
    page = environment().get_template("diff.html.j2")
    return page.render(found=compared.difference, figures=figures, assets=assets(), charts=chart_data(drawn))


def _figures(table: Table, histograms: tuple[Histogram, ...], start: int) -> Iterator[Figure]:
    """In the order of the shifts: what changed most first."""
    by_column = {histogram.column: histogram for histogram in histograms}
    shifts = table.shifts.columns if table.shifts is not None else ()
    for place, shift in enumerate(shifts[:_MOST], start=start):
        chart = column_chart(by_column[shift.column], place)
        says = f"{shift.column}: shares of rows by value, now and then"
        rows = [{_SIDES.get(name, name): value for name, value in row.items()} for row in chart.rows]
        yield Figure(shift, replace(chart, spec=f"{chart.spec}-since", says=says, rows=rows))
