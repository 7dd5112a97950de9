"""report.json: all of the report in machine form, and nothing that is not in the page's own sources."""

from __future__ import annotations

import json
from dataclasses import asdict

from pydantic import JsonValue

from synthmill.evaluator import Score
from synthmill.report.cells import records
from synthmill.report.changes import compare
from synthmill.report.inputs import ReportInput
from synthmill.report.standing import standing

FORMAT = 1


def report_json(report: ReportInput) -> bytes:
    """The same bytes for the same report. Tables are lists of rows; images are left out of the samples."""
    scores = report.scores
    changes = report.previous and compare(report.previous, scores.scores, report.recipe)
    content: dict[str, JsonValue | object] = {
        "format": FORMAT,
        "dataset": report.dataset,
        "rows": report.rows,
        "schema": report.schema.model_dump(mode="json"),
        "source": report.source and asdict(report.source),
        "jobs": [asdict(job) for job in report.jobs],
        "strata": [{**asdict(stratum), "rejects": dict(stratum.rejects)} for stratum in report.strata],
        "standing": asdict(standing(report.verdicts, report.override)),
        "override": report.override,
        "gates": [asdict(verdict) for verdict in report.verdicts],
        "scores": [score.model_dump(mode="json") for score in scores.scores],
        "by_job": [[score.model_dump(mode="json") for score in job] for job in scores.by_job],
        "tables": {name: records(table) for name, table in sorted(scores.tables.items())},
        "histograms": [histogram.model_dump(mode="json") for histogram in scores.histograms],
        "samples": records(scores.samples.select([c.name for c in report.schema if c.kind != "image"])),
        "changes": changes
        and {
            "version": changes.version,
            "rows": changes.rows,
            "scores": [
                {"name": one.name, "turn": one.turn, "then": one.then and _as_released(one.then)}
                for one in changes.scores
            ],
            "recipe": [asdict(key) for key in changes.keys],
        },
        "drift": report.drift and report.drift.model_dump(mode="json"),
        "facts": dict(report.facts),
    }
    return (json.dumps(content, ensure_ascii=False, allow_nan=False, indent=1) + "\n").encode()


def _as_released(score: Score) -> dict[str, JsonValue]:
    """What the earlier release says of a score; what it does not say is left out."""
    return score.model_dump(mode="json", exclude_unset=True)
