"""A plan's candidate as an exam: real rows are read and sides drawn in a process of its own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from synthmill.plan import Plan
from synthmill.scoring import most_rows
from synthmill.scoring.references import StratumShare
from synthmill.scoring.sides import Exam, Real, Subject, draw_exam
from synthmill.store.snapshot import read_snapshot


@dataclass(frozen=True, slots=True)
class ScoreTask:
    """Where the candidate and the split source lie, and what to measure; of a child table the candidate is its joined rows."""

    plan: Plan
    candidate: Path
    source: Path

    @property
    def strata(self) -> tuple[StratumShare, ...]:
        """What each stratum gave to the candidate; of a child table, what each stratum of its parents gave."""
        if self.plan.belonging is not None:
            shares = (share for share in self.plan.belonging.shares if share.rows)
            return tuple(StratumShare(job=s.job, label=s.label, where=s.where, rows=s.rows) for s in shares)
        return tuple(
            StratumShare(job=job.index, label=stratum.label, where=stratum.where, rows=stratum.rows)
            for job in self.plan.jobs
            for stratum in job.strata
            if stratum.rows
        )


def draw_candidate(task: ScoreTask, _: Callable[[str, int, int], None]) -> Exam:
    """The exam of a plan's candidate."""
    plan = task.plan
    schema = plan.source.schema_
    a, b, train = (read_snapshot(task.source, part, schema) for part in ("a", "b", "train"))
    subject = Subject(
        candidate=task.candidate,
        real=Real(a, b, train),
        schema=schema,
        strata=task.strata,
        seed=plan.recipe.seed,
        rules=plan.recipe.rules,
        protected=plan.recipe.source.protected,
        context=() if plan.belonging is None else plan.belonging.context,
        count=None if plan.belonging is None else plan.belonging.count,
    )
    return draw_exam(subject, most_rows(plan.recipe.evaluators))
