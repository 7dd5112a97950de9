"""Score a candidate in a process of its own: real rows are read here, and only scores, counts and synthetic samples come back."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from synthmill.plan import Plan
from synthmill.scoring import Progress, Scores, score
from synthmill.scoring.references import StratumShare
from synthmill.store.snapshot import read_snapshot


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
    schema = task.plan.source.schema_
    return score(
        task.plan.recipe.evaluators,
        candidate=task.candidate,
        train=read_snapshot(task.source, "train", schema),
        a=read_snapshot(task.source, "a", schema),
        b=read_snapshot(task.source, "b", schema),
        schema=schema,
        strata=task.strata,
        rules=task.plan.recipe.rules,
        seed=task.plan.recipe.seed,
        progress=progress,
    )
