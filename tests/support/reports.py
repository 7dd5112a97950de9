"""A report with everything that a page can show, for any number of columns, with names that try to break out."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from playwright.sync_api import Page

from synthmill.columns import Column, Schema
from synthmill.evaluator import Score
from synthmill.report.inputs import JobFacts, ReportInput, SourceFacts, StratumFacts
from synthmill.scoring import Scores
from synthmill.scoring.gates import Verdict
from synthmill.scoring.histograms import histograms
from synthmill.scoring.previous import PreviousRelease

NASTY = "</script ><script>alert(1)</script >"
ROWS, CORRELATED = 500, 40
NAMES = ("fidelity/c2st", "fidelity/shape", "fidelity/trend", "utility/tstr", "privacy/dcr", "privacy/dcr/nndr")


@dataclass(frozen=True)
class Seen:
    """A page, and what went wrong on it."""

    page: Page
    problems: list[str]

    def ask(self, url: str) -> None:
        """A request: only the page itself is wanted."""
        if not url.startswith("file://"):
            self.problems.append(f"request: {url}")

    def scroll_through(self) -> None:
        """Every part of the page has been in view."""
        height = self.page.evaluate("document.documentElement.scrollHeight")
        for top in range(0, height, 500):
            self.page.evaluate(f"window.scrollTo({{top: {top}, behavior: 'instant'}})")
            self.page.wait_for_timeout(50)
        self.page.wait_for_function("[...document.querySelectorAll('.plot')].every(plot => plot.querySelector('svg'))")


def wide_report(columns: int) -> ReportInput:
    """Columns of every fourth a category, one of them with a name like a script."""
    kinds = [("number", "double"), ("integer", "int64"), ("date", "date32"), ("category", "string")]
    named = [NASTY if i == 3 else f"column_with_a_long_name_{i}" for i in range(columns)]
    schema = Schema(
        columns=tuple(Column(name=n, kind=kinds[i % 4][0], dtype=kinds[i % 4][1]) for i, n in enumerate(named))
    )
    synthetic, real = (_rows(schema, seed) for seed in (0, 1))
    counted = histograms(synthetic, real, schema.columns)
    scores = tuple(_score(name, i) for i, name in enumerate(NAMES))
    return ReportInput(
        dataset="a-dataset-with-quite-a-long-name-that-has-to-wrap-on-a-phone",
        schema=schema,
        rows=20_000,
        strata=(StratumFacts(0, "table/vae", "all", 15_000, 16_000), StratumFacts(1, "table/vae", NASTY, 5_000, 9_000)),
        scores=Scores(scores, (scores, scores[:2]), _tables(named), counted, synthetic.slice(0, 10)),
        verdicts=(
            Verdict("fidelity/c2st", "at_least", 0.9, "normalised", "missed", "normalised 0.55"),
            Verdict("fidelity/shape", "at_least", 0.9, "value", "missed", "value 0.6", action="warn"),
        ),
        facts=(("seed", "7"), ("plan", "0123456789abcdef" * 4)),
        jobs=(JobFacts("table/vae", 15_000), JobFacts("table/vae", 5_000, "balanced by income")),
        source=SourceFacts("data/a/rather/long/path/to/the/source-of-it-all.parquet", 26_000, 6_500, named[0]),
        previous=PreviousRelease("v1.2.0", 9_000, {s.name: _score(s.name, 9) for s in scores[1:]}, {"seed": 1}),
        recipe={"seed": 2},
    )


def _rows(schema: Schema, seed: int) -> pa.Table:
    rng = np.random.default_rng(seed)
    labels = [NASTY, "<b>", "a rather long label that has no room on a phone", "c", "d", None]
    drawn = {
        "number": lambda: rng.lognormal(size=ROWS),
        "integer": lambda: rng.integers(0, 90, ROWS) * (rng.random(ROWS) < 0.5),
        "date": lambda: pa.array(rng.integers(10_000, 20_000, ROWS).astype(np.int32)).cast(pa.date32()),
        "category": lambda: rng.choice(labels, ROWS).tolist(),
    }
    return pa.table({column.name: drawn[column.kind]() for column in schema}, schema=schema.arrow)


def _score(name: str, seed: int) -> Score:
    value = 0.5 + 0.05 * seed
    interval = (value - 0.03, value + 0.03)
    if not name.startswith(("fid", "util")):  # without a floor the ceiling may lie anywhere
        return Score(name=name, value=value, ceiling=0.4, rows=ROWS, interval=interval, ceiling_interval=(0.37, 0.43))
    above = {"ceiling": 0.98, "ceiling_interval": (0.95, 1.0), "normalised": (value - 0.1) / 0.88}
    return Score(name=name, value=value, floor=0.1, rows=ROWS, interval=interval, **above)


def _tables(names: list[str]) -> dict[str, pa.Table]:
    rng = np.random.default_rng(2)
    shown = names[:CORRELATED]
    pairs = [(left, right) for i, left in enumerate(shown) for right in shown[i + 1 :]]
    shares = rng.random((24, 3))
    each = {
        "column": names,
        "value": rng.random(len(names)),
        "synthetic": rng.random(len(names)),
        "real": rng.random(len(names)),
    }
    return {
        "fidelity/c2st/columns": pa.table({"column": names, "importance": np.sort(rng.random(len(names)))[::-1]}),
        "fidelity/c2st/ranges": pa.table(
            {"column": names[:5], "range": ["1 to 500"] * 5, "synthetic": [0.04] * 5, "real": [0.002] * 5}
        ),
        "fidelity/shape/columns": pa.table(each),
        "fidelity/trend/columns": pa.table(each),
        "fidelity/trend/correlations": pa.table(
            {
                "column": [left for left, _ in pairs],
                "other": [right for _, right in pairs],
                "synthetic": rng.uniform(-1, 1, len(pairs)),
                "real": rng.uniform(-1, 1, len(pairs)),
            }
        ),
        "privacy/dcr/distances": pa.table(
            {
                "from": np.arange(24) / 24,
                "synthetic_to_train": shares[:, 0],
                "synthetic_to_holdout": shares[:, 1],
                "holdout_to_train": shares[:, 2],
            }
        ),
        "utility/tstr/classes": pa.table(
            {"label": [NASTY, "b"] * 2, "trained_on": ["synthetic"] * 2 + ["real"] * 2, "f1": [0.5] * 4}
        ),
    }
