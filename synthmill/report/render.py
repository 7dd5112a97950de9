"""The report: one HTML file that needs no network, holds no real row, and is the same bytes for the same scores."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass

import jinja2
import pyarrow as pa

from synthmill.columns import Schema
from synthmill.evaluator import Score
from synthmill.report.charts import CHART_HEIGHT, CHART_WIDTH, STRIP_WIDTH, Strip, chart, strip
from synthmill.report.inputs import ReportInput
from synthmill.scoring.gates import Verdict

SAMPLE_ROWS = 10


@dataclass(frozen=True, slots=True)
class _Line:
    """One line of the table of scores."""

    score: Score
    strip: Strip | None
    verdict: Verdict | None


def render(report: ReportInput) -> str:
    """The whole page. Everything that comes from data or recipe is escaped."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("synthmill", "report/templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(number=_number, count=lambda n: f"{n:,}")
    verdicts = {verdict.name: verdict for verdict in report.verdicts}
    return environment.get_template("report.html.j2").render(
        report=report,
        lines=_lines(report.scores.scores, verdicts),
        by_job=_job_lines(report),
        charts=[chart(histogram) for histogram in report.scores.histograms],
        samples=_sample_rows(report.scores.samples, report.schema) if report.schema.modality == "table" else [],
        pictures=_pictures(report.scores.samples, report.schema) if report.schema.modality == "image" else [],
        strip_width=STRIP_WIDTH,
        chart_width=CHART_WIDTH,
        chart_height=CHART_HEIGHT,
    )


def _lines(scores: Sequence[Score], verdicts: dict[str, Verdict]) -> list[_Line]:
    return [_Line(score, strip(score), verdicts.get(score.name)) for score in scores]


def _job_lines(report: ReportInput) -> list[tuple[str, list[_Line]]]:
    """(generator, lines) of each job; nothing where one job is the whole dataset."""
    if len(report.scores.by_job) == 1:
        return []
    generators = {facts.job: facts.generator for facts in report.strata}
    return [(generators[job], _lines(scores, {})) for job, scores in enumerate(report.scores.by_job)]


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}" if abs(value) < 100 else f"{value:,.0f}"


def _sample_rows(samples: pa.Table, schema: Schema) -> list[list[str]]:
    rows = samples.select(schema.names).slice(0, SAMPLE_ROWS).to_pylist()
    return [
        ["" if cell is None else f"{cell:.5g}" if isinstance(cell, float) else str(cell) for cell in row.values()]
        for row in rows
    ]


def _pictures(samples: pa.Table, schema: Schema) -> list[tuple[str, list[str]]]:
    """Synthetic images as data URIs, by the value of the first discrete column, in the order of the values."""
    [image] = [column.name for column in schema if column.kind == "image"]
    labels = [column.name for column in schema if column.is_discrete]
    by_label: dict[str, list[str]] = {}
    for row in samples.to_pylist():
        label = f"{labels[0]} {row[labels[0]]}" if labels else ""
        by_label.setdefault(label, []).append(_data_uri(row[image]["bytes"]))
    return sorted(by_label.items())


def _data_uri(encoded: bytes) -> str:
    kind = "png" if encoded.startswith(b"\x89PNG") else "jpeg"
    return f"data:image/{kind};base64,{base64.b64encode(encoded).decode()}"
