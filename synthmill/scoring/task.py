"""Score a candidate in a process of its own: real rows are read here, and only scores, counts and synthetic samples come back."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pyarrow.parquet as pq

from synthmill.columns import Schema
from synthmill.plan import Plan
from synthmill.scoring import Progress, Scores, score
from synthmill.scoring.references import StratumShare


@dataclass(frozen=True, slots=True)
class ScoreTask:
    """Where the candidate and the split source lie, and what to measure."""

    plan: Plan
    candidate: Path
    source: Path

    @property
    def strata(self) -> tuple[StratumShare, ...]:
        """What each stratum gave to the candidate."""
        return tuple(
            StratumShare(job=job.index, label=stratum.label, where=stratum.where, rows=stratum.rows)
            for job in self.plan.jobs
            for stratum in job.strata
            if stratum.rows
        )


def score_candidate(task: ScoreTask, progress: Progress) -> Scores:
    """All scores of the plan's recipe; a recipe without any gets none."""
    train, a, b = (pq.read_table(task.source / f"{part}.parquet") for part in ("train", "a", "b"))
    schema: Schema = task.plan.source.schema_
    return score(
        task.plan.recipe.evaluators,
        candidate=task.candidate,
        train=train.cast(schema.arrow),
        a=a.cast(schema.arrow),
        b=b.cast(schema.arrow),
        schema=schema,
        strata=task.strata,
        rules=task.plan.recipe.rules,
        seed=task.plan.recipe.seed,
        progress=progress,
    )
