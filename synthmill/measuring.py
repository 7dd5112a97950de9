"""A candidate with its measurements: found in it, in the state that machines share, or made on an engine."""

from __future__ import annotations

from pathlib import Path

from synthmill.candidates import Candidate
from synthmill.console import Reporter
from synthmill.drift import find_drift
from synthmill.engine import Engine, ShouldStop
from synthmill.examine import examine
from synthmill.scoring import Scores
from synthmill.scoring.cache import Measurements
from synthmill.scoring.task import ScoreTask, draw_candidate
from synthmill.store.shared import Shared


def have_measured(
    candidate: Candidate, shared: Shared, engine: Engine, reporter: Reporter, should_stop: ShouldStop
) -> None:
    """Have everything measured that card and report say, and how the source changed since an earlier model."""
    if candidate.is_measured:
        reporter.say("score: found")
        return
    plan, state = candidate.plan, candidate.state
    if plan.before:
        shared.bring_missing(state.source(plan.before))
    drift = find_drift(state, plan.before, plan.source) if plan.before else None
    candidate.keep(_measure(candidate, shared, engine, reporter, should_stop), drift)


def _measure(
    candidate: Candidate, shared: Shared, engine: Engine, reporter: Reporter, should_stop: ShouldStop
) -> Scores:
    """All evaluators side by side; ceiling and floor, and the candidate too where it is the same, are found in state."""
    plan, state, kept = candidate.plan, candidate.state, list[Path]()
    source = plan.source.fingerprint
    shared.bring_measurements(source)
    task = ScoreTask(plan, candidate.scored, state.source(source))
    known = Measurements(state.measurements, source, plan.versions, kept.append)
    scores = examine(draw_candidate, task, plan.recipe.evaluators, engine, reporter, should_stop, known=known)
    shared.send_measurements(source, kept)
    return scores
