"""An exam drawn in a process of its own and taken on an engine: as a run scores its candidate, and `synthmill score` any table."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from synthmill.child import Failure, Note
from synthmill.console import Reporter
from synthmill.engine import Engine, ShouldStop
from synthmill.scoring import Known, Scores, score
from synthmill.scoring.sides import Exam
from synthmill.scoring.trials import Estimate, Examiner, Failed, Trial

Task = TypeVar("Task")


def examine(
    draw: Callable[[Task, Note], Exam],
    task: Task,
    keys: Sequence[str],
    engine: Engine,
    reporter: Reporter,
    should_stop: ShouldStop,
    *,
    known: Known | None = None,
) -> Scores:
    """All scores of what `draw(task)` draws, the evaluators side by side; what is `known` is not measured again."""

    def progress(_: str, done: int, total: int) -> None:
        reporter.progress("score", done, total)

    def spread(exam: Exam, trials: Sequence[Trial]) -> list[Estimate | Failed]:
        done = engine.map(Examiner, exam, trials, progress=progress, should_stop=should_stop)
        return [Failed(_reason(one)) if isinstance(one, Failure) else one for one in done]

    exam = engine.call(draw, task, progress=progress, should_stop=should_stop)
    return score(keys, exam, spread=spread, known=known)


def _reason(failure: Failure) -> str:
    """Of an exception its type alone, since its message may hold a cell; a death is told in our own words."""
    return failure.summary.partition(":")[0] if failure.trace else failure.summary
