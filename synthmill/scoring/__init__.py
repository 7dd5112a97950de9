"""The score runner: each evaluator on the candidate, on real rows in its place and on the floor control, with intervals.

    Subject -> draw_exam -> Exam -> trials (anywhere, in any order) -> estimates -> scores

No Ray, no Prefect, no clock. The same candidate, real rows and seed give the same scores, bit for bit, whoever takes the trials.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import pyarrow as pa

from synthmill.evaluator import Evaluator, Score
from synthmill.registry import evaluator
from synthmill.scoring.combine import combine, undetermined
from synthmill.scoring.histograms import Histogram
from synthmill.scoring.sides import Draw, Exam, Mixture
from synthmill.scoring.trials import Estimate, Examiner, Failed, Role, Trial

logger = logging.getLogger(__name__)

Spread = Callable[[Exam, Sequence[Trial]], Sequence[Estimate | Failed]]
"""Takes trials wherever it likes, and gives the results in their order."""


class Known(Protocol):
    """What was measured before."""

    def find(self, exam: Exam, trial: Trial) -> Estimate | None:
        """What is known of a trial."""
        ...

    def keep(self, exam: Exam, trial: Trial, estimate: Estimate) -> None:
        """Know it from now on."""
        ...


@dataclass(frozen=True, slots=True)
class Scores:
    """`scores` of the whole mixture, `by_job` in recipe order; `tables`, `histograms` and `samples` for the report.

    No real row is in it: histograms are counts, samples are synthetic rows, up to ten a stratum.
    """

    scores: tuple[Score, ...]
    by_job: tuple[tuple[Score, ...], ...]
    tables: Mapping[str, pa.Table]
    histograms: tuple[Histogram, ...]
    samples: pa.Table


def most_rows(keys: Sequence[str]) -> tuple[int, ...]:
    """The numbers of rows a side that sides are drawn for."""
    return tuple(sorted({Evaluator.maximum_rows, *(evaluator(key).maximum_rows for key in keys)}))


def in_turn(exam: Exam, trials: Sequence[Trial]) -> list[Estimate | Failed]:
    """Every trial in this process, one after the other."""
    return [*map(Examiner(exam), trials)]


def score(keys: Sequence[str], exam: Exam, *, spread: Spread = in_turn, known: Known | None = None) -> Scores:
    """Scores of the exam's candidate by each evaluator; one that raises, or whose process dies, becomes failed scores."""
    trials = [
        Trial(key, mixture, role) for key in keys for mixture in exam.mixtures for role in _roles(key, exam, mixture)
    ]
    found: dict[Trial, Estimate | Failed] = {}
    if known is not None:
        found = {trial: estimate for trial in trials if (estimate := known.find(exam, trial)) is not None}
    missing = [trial for trial in trials if trial not in found]
    for trial, result in zip(missing, spread(exam, missing) if missing else (), strict=True):
        found[trial] = result
        if isinstance(result, Failed):
            logger.error("%s failed on the %s: %s\n%s", trial.key, trial.role, result.reason, result.trace)
        if known is not None and isinstance(result, Estimate):
            known.keep(exam, trial, result)
    by_mixture = [tuple(_scored(keys, exam, mixture, found)) for mixture in exam.mixtures]
    return Scores(
        scores=by_mixture[0],
        by_job=tuple(by_mixture[1:] or by_mixture),
        tables=_tables(keys, exam, found),
        histograms=exam.histograms,
        samples=exam.samples,
    )


def _roles(key: str, exam: Exam, mixture: Mixture) -> tuple[Role, ...]:
    """What has to be measured; nothing where there are too few rows. The candidate first: it decides whether the rest is of use."""
    if undetermined(key, exam, _draw(key, exam, mixture)):
        return ()
    return ("candidate", "ceiling", "floor") if evaluator(key).has_floor else ("candidate", "ceiling")


def _draw(key: str, exam: Exam, mixture: Mixture) -> Draw:
    return exam.draws[mixture, evaluator(key).maximum_rows]


def _scored(keys: Sequence[str], exam: Exam, mixture: Mixture, found: Mapping[Trial, Estimate | Failed]) -> list[Score]:
    scores: list[Score] = []
    for key in keys:
        draw = _draw(key, exam, mixture)
        results = {role: found[Trial(key, mixture, role)] for role in _roles(key, exam, mixture)}
        scores += combine(key, draw, results) if results else undetermined(key, exam, draw)
    return scores


def _tables(keys: Sequence[str], exam: Exam, found: Mapping[Trial, Estimate | Failed]) -> dict[str, pa.Table]:
    """The details of the whole mixture, by the evaluator's key and the table's name."""
    whole = {key: found.get(Trial(key, exam.mixtures[0], "candidate")) for key in keys}
    return {
        f"{key}/{name}": pa.table(dict(columns))
        for key, estimate in whole.items()
        if isinstance(estimate, Estimate)
        for name, columns in estimate.tables.items()
    }
