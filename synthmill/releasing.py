"""Release what a run made and did not release, or was stopped at: nothing is fitted, generated or measured again."""

from __future__ import annotations

from dataclasses import dataclass

from synthmill.console import Reporter
from synthmill.errors import GateMissed, InputError
from synthmill.outcome import Outcome
from synthmill.publish import identity_of
from synthmill.quarantine import Waiting, described, publish_chosen
from synthmill.store.lock import ShouldStop
from synthmill.store.objects import read_tree
from synthmill.store.release_steps import releases
from synthmill.store.versions import next_version
from synthmill.store.workspace import Workspace


@dataclass(frozen=True, slots=True)
class Prospect:
    """What a release would be. `version` is the existing one where the plan is released."""

    dataset: str
    plan: str
    version: str
    is_new: bool
    rows: int
    files: int
    size_bytes: int
    path: str
    recipe: str
    override: str | None


def choose_for_release(workspace: Workspace, dataset: str, plan: str | None) -> Waiting:
    """The candidate that passed its gates, or was released in spite of them by a reason that it keeps; InputError, GateMissed.

    Where none is left to release, it is that of the last release, so that a release whose end nobody saw can be asked for again.
    """
    own = [entry for entry in described(workspace) if entry.dataset == dataset]
    found = [entry for entry in own if entry.plan.startswith(plan or "")]
    if not found:
        what = f"no candidate of {dataset!r} is in state" + (f" whose plan begins with {plan}" if plan and own else "")
        known = f"its plans are {', '.join(entry.plan[:12] for entry in own)}" if own else _run_hint(workspace, dataset)
        raise InputError(what, where=dataset if not own else "--plan", hint=known)
    left = [entry for entry in found if entry.candidate.settled in ("", "placed")] or _last(workspace, found, plan)
    passed = [entry for entry in left if entry.scored.override or not entry.scored.blocked]
    if not left:
        raise InputError(
            f"every candidate of {dataset} is released, and later than the last release none is",
            where=dataset,
            hint=_run_hint(workspace, dataset),
        )
    if not passed:
        hint = f"`synthmill candidates {dataset}` shows why; `synthmill approve {left[0].plan[:12]} REASON` releases it"
        raise GateMissed(f"{dataset}, plan {left[0].plan[:12]}: {left[0].verdict}", where="gates", hint=hint)
    if len(passed) > 1:
        lines = [f"{entry.plan[:12]}  {entry.candidate.plan.rows:,} rows, since {entry.since}" for entry in passed]
        hint = "\n  ".join(["name one with --plan; `synthmill drop PLAN` removes one:", *lines])
        raise InputError(f"{len(passed)} candidates of {dataset} can be released", where=dataset, hint=hint)
    return passed[0]


def _last(workspace: Workspace, found: list[Waiting], plan: str | None) -> list[Waiting]:
    """The candidate of the last release; any that is named by its plan, since going back to an older one is a release too."""
    if plan is not None:
        return found
    last = next(reversed(releases(workspace, found[0].dataset)), None)
    return [entry for entry in found if last and last.identity and last.identity.plan == entry.plan]


def _run_hint(workspace: Workspace, dataset: str) -> str:
    usual = f"recipes/{dataset}.yaml"
    recipe = usual if (workspace.root / usual).exists() else "RECIPE"
    return f"`synthmill run {recipe}` makes one"


def foresee(workspace: Workspace, chosen: Waiting) -> Prospect:
    """What `release_chosen` would do; writes nothing."""
    last = next(reversed(releases(workspace, chosen.dataset)), None)
    identity, tree = identity_of(chosen.candidate), read_tree(chosen.candidate.folder)
    is_new = last is None or last.identity is None or last.identity.plan != identity.plan
    version = next_version(last, identity) if last is None or is_new else last.version
    return Prospect(
        dataset=chosen.dataset,
        plan=chosen.plan,
        version=str(version),
        is_new=is_new,
        rows=chosen.candidate.plan.rows,
        files=len(tree.files),
        size_bytes=sum(tree.sizes.values()),
        path=str(chosen.candidate.folder),
        recipe=chosen.origin.recipe,
        override=chosen.scored.override,
    )


def release_chosen(workspace: Workspace, chosen: Waiting, reporter: Reporter, should_stop: ShouldStop) -> Outcome:
    """Place and release it; a release that was stopped goes on. Errors as those of a run with `--release`."""
    reporter.say(f"release: {chosen.dataset}, plan {chosen.plan[:12]}, {chosen.candidate.plan.rows:,} rows")
    return publish_chosen(workspace, chosen, chosen.scored.override, reporter, should_stop, to_release=True)
