"""What a run says on its way: how the source was understood, how far a fit and a generation are. Counts and names, never a cell."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field

from synthmill import registry
from synthmill.console import Reporter, duration, table
from synthmill.engine import Progress
from synthmill.measures import gate_notes
from synthmill.plan import Plan
from synthmill.sources import SourceTable
from synthmill.sources.infer import describe


@dataclass(slots=True)
class FitWords:
    """Turns a fit's progress into words: loss and time left. `before` are the steps that an earlier run took."""

    reporter: Reporter
    task: str
    before: int = 0
    started: float = field(default_factory=time.monotonic)

    def __call__(self, step: int, steps: int, loss: float) -> None:
        """See FitProgress."""
        words = f"loss {loss:.4g}"
        if step > self.before:  # an earlier run's steps say nothing of this machine
            left = (time.monotonic() - self.started) / (step - self.before) * (steps - step)
            words += f", {duration(left)} left"
        self.reporter.progress(self.task, step, steps, words)


def of_child(plan: Plan) -> str:
    """The child's name where the plan is one's, so that its tasks are not taken for those of the first table."""
    return "" if plan.belonging is None else f"{plan.recipe.dataset} "


def generate_words(progress: Progress) -> str:
    """Speed, rejects by reason and time left."""
    speed = f"{progress.rows_per_s:,.0f} rows/s" if progress.workers else "loading the model"
    left = "" if progress.seconds_left is None else f"{duration(progress.seconds_left)} left"
    return ", ".join(filter(None, [speed, _reject_words(progress.rejects), left]))


def _reject_words(rejects: Mapping[str, int]) -> str:
    return "" if not rejects else "rejected " + ", ".join(f"{n:,} {reason}" for reason, n in sorted(rejects.items()))


def source_lines(plan: Plan, source: SourceTable) -> list[str]:
    """What was read and how it was understood; counts and names, never a cell."""
    info, target = plan.source, source.schema.target
    lines = [
        f"source {plan.recipe.source.path}: {info.train_rows:,} train rows, {info.a_rows:,} + {info.b_rows:,} held out",
        *column_lines(source, {target: "target"}),
        *(f"note: {note}" for note in source.notes),
    ]
    for key in plan.recipe.evaluators:
        needed, there = registry.evaluator(key).minimum_rows, min(info.a_rows, info.b_rows)
        if there < needed:
            lines.append(
                f"note: {key} takes {needed:,} rows a side, the holdout has {there:,}: it will be undetermined"
            )
    lines += [f"note: {note}" for note in gate_notes(plan.recipe)]
    for job in plan.jobs:
        for how, names in (("exactly", job.exact), ("by rejection", job.by_rejection)):
            if names:
                lines.append(f"jobs.{job.index}: {', '.join(names)} met {how}")
    return [f"  {line}" for line in lines]


def column_lines(source: SourceTable, roles: Mapping[str | None, str]) -> list[str]:
    """A line for each column: how it was understood, and the role that its name has."""
    rows = [
        (
            column.name,
            column.kind,
            column.dtype,
            "" if column.distinct is None else f"{column.distinct:,}",
            f"{column.missing:.1%}",
            roles.get(column.name, ""),
        )
        for column in describe(source.schema, source.table)
    ]
    return table(("column", "kind", "type", "values", "missing", ""), rows)
