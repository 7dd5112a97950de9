"""From scores to verdicts: a candidate held against its gates and the earlier releases, and described accordingly."""

from __future__ import annotations

from pathlib import Path

from synthmill.candidates import Candidate, ChildCandidate
from synthmill.errors import GateMissed, InputError
from synthmill.origin import origin_of
from synthmill.outcome import ChildScored, Outcome, Scored
from synthmill.scoring.gates import judge
from synthmill.store.earlier import LATEST, earlier_releases
from synthmill.store.git import Git
from synthmill.store.workspace import Workspace


def judge_candidate(workspace: Workspace, candidate: Candidate, recipe: Path, override: str | None) -> Outcome:
    """The verdicts as of now; card, report and manifest are written where verdicts, override or the release before have changed.

    `override` counts where a gate blocks, and is nothing else.
    """
    plan, measured = candidate.plan, candidate.measured()
    earlier = earlier_releases(Git(workspace.root), plan)
    previous = earlier[LATEST]
    scored = Scored(
        scores=measured.scores,
        by_job=measured.by_job,
        gates=judge(plan.recipe, measured.scores, earlier),
        previous=None if previous is None else previous.version,
        children={child.plan.recipe.dataset: _judge_child(workspace, child, recipe) for child in candidate.children},
    )
    scored = scored.model_copy(update={"override": override if scored.blocked else None})
    if not (candidate.is_complete and candidate.scores() == scored):
        candidate.describe(scored, previous, origin_of(workspace, plan, recipe))
    return Outcome(
        **{name: getattr(scored, name) for name in Scored.model_fields},
        dataset=plan.recipe.dataset,
        plan=plan.fingerprint,
        rows=plan.rows,
        level=candidate.manifest().level,
        path=str(candidate.folder),
    )


def _judge_child(workspace: Workspace, child: ChildCandidate, recipe: Path) -> ChildScored:
    """The verdicts on one child table, which is described too."""
    plan, measured = child.plan, child.measured()
    gates = judge(plan.recipe, measured.scores)
    scored = ChildScored(scores=measured.scores, by_job=measured.by_job, gates=gates, rows=plan.rows)
    if not (child.is_complete and child.scores() == scored):
        child.describe(scored, None, origin_of(workspace, plan, recipe))
    return scored


def one_line(reason: str) -> str:
    """The reason of an override without line breaks; InputError where it says nothing."""
    words = " ".join(reason.split())
    if not words:
        raise InputError("an override needs a reason", where="--override", hint="say why: it is kept with the release")
    return words


def hold_gates(outcome: Outcome) -> None:
    """GateMissed where a gate blocks and nobody overrides it."""
    if outcome.blocked and outcome.override is None:
        reasons = "; ".join(f"{gate.name} {gate.status}: {gate.reason}" for gate in outcome.blocked)
        look = f"`synthmill candidates {outcome.plan[:12]}` shows the candidate"
        hint = f"nothing was placed; {look}, which stays at {outcome.path}"
        raise GateMissed(reasons, where="gates", hint=hint)
