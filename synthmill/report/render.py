"""The report: one HTML file that needs no network, holds no real row, and is the same bytes for the same scores.

report.html.j2 puts the page together from partials, one a section; style.css and report.js are read into it. The private report is the
same page with real rows beside, and never leaves state.
"""

from __future__ import annotations

from collections.abc import Sequence

import jinja2
from markupsafe import Markup

from synthmill.report import cells
from synthmill.report.changes import compare
from synthmill.report.charts import importance_chart, relation_charts
from synthmill.report.closest import ClosestRows
from synthmill.report.details import details, drawable, tells
from synthmill.report.figures import column_figures
from synthmill.report.inputs import ReportInput
from synthmill.report.page import assets, chart_data
from synthmill.report.pictures import pictures
from synthmill.report.score_table import Group, group_scores
from synthmill.report.standing import in_words, standing

SAMPLE_ROWS = 12


def render(report: ReportInput, *, closest: ClosestRows | None = None) -> str:
    """The whole page. Everything that comes from data or recipe is escaped. With `closest`, it is the private one."""
    scores, schema, tables = report.scores, report.schema, report.scores.tables
    figures = column_figures(scores.histograms, tables)
    correlations = drawable(tables, "fidelity/trend/correlations")
    telling = drawable(tables, "fidelity/c2st/columns")
    relations = [] if correlations is None else relation_charts(correlations)
    importance = None if telling is None else importance_chart(telling)
    gives_away = tells(tables)
    tabled = details(tables)
    drawn = [*(figure.chart for figure in figures), *relations, *([importance] if importance else [])]
    drawn += [chart for detail in tabled for chart in detail.charts]
    is_table = schema.modality == "table"
    return (
        environment()
        .get_template("report.html.j2")
        .render(
            report=report,
            assets=assets(),
            standing=standing(report.verdicts, report.override),
            changes=report.previous and compare(report.previous, scores.scores, report.recipe),
            groups=group_scores(scores.scores, report.verdicts),
            by_job=_by_job(report),
            figures=figures,
            relations=relations,
            importance=importance,
            has_detector=telling is not None or gives_away,
            tells=gives_away,
            details=tabled,
            samples=cells.sample_rows(scores.samples, schema.names, SAMPLE_ROWS) if is_table else None,
            pictures=pictures(scores.samples, schema) if schema.modality == "image" else [],
            closest=closest,
            charts=chart_data(drawn),
        )
    )


def environment() -> jinja2.Environment:
    """The templates and the filters that they use, for the report and for other pages in its look."""
    found = jinja2.Environment(
        loader=jinja2.PackageLoader("synthmill", "report/templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    found.filters.update(number=cells.number, span=cells.span, count=lambda n: f"{n:,}", words=in_words)
    found.filters["breakable"] = lambda name: Markup("/<wbr>").join(name.split("/"))
    return found


def _by_job(report: ReportInput) -> list[tuple[str, Sequence[Group]]]:
    """(generator, groups of scores) of each job; nothing where one job is the whole dataset."""
    if len(report.scores.by_job) == 1:
        return []
    generators = {facts.job: facts.generator for facts in report.strata}
    return [(generators[job], group_scores(scores)) for job, scores in enumerate(report.scores.by_job)]
