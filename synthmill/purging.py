"""A deletion request, carried out: the releases that it names, and what state keeps of their plans."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

from pydantic import ValidationError

from synthmill.console import Reporter
from synthmill.errors import InputError
from synthmill.publish import user_name
from synthmill.store.dvc import Dvc
from synthmill.store.files import locked
from synthmill.store.git import Git
from synthmill.store.holdings import BOTH, Holding, read_holdings
from synthmill.store.lock import ShouldStop
from synthmill.store.manifest import Manifest
from synthmill.store.purge import Purge, bury, carry_out, fetch_tags, plan_purge
from synthmill.store.references import resolve_version
from synthmill.store.state import State
from synthmill.store.tombstones import Tombstone
from synthmill.store.versions import Release
from synthmill.store.workspace import Workspace
from synthmill.usage import Usage, read_usage, shards_of


def purge(
    workspace: Workspace,
    names: Sequence[str],
    reason: str,
    reporter: Reporter,
    should_stop: ShouldStop,
    *,
    is_meant: bool,
) -> tuple[Purge, list[Tombstone]]:
    """What goes, and the tombstones once it `is_meant`; without that nothing is touched.

    InputError where a name is no release or rows are shared, BusyError where a run works on one of the plans.
    """
    because = " ".join(reason.split())
    if not because:
        raise InputError("a purge needs a reason", where="--reason", hint="it is all that is left to explain the gap")
    with workspace.lock(reporter.say, should_stop) as (git, dvc), ExitStack() as stack:
        fetch_tags(git)
        releases = [resolve_version(git, name) for name in dict.fromkeys(names)]
        state = State(workspace.state)
        plans = sorted({release.identity.plan for release in releases if release.identity})
        for plan in plans if is_meant else ():
            stack.enter_context(locked(state.lock(f"plan-{plan}"), f"a run works on this plan ({plan[:12]})"))
        found = plan_purge(workspace.root, git, dvc, releases, _in_state(state, git, dvc, releases, plans))
        if uri := workspace.settings.uri:
            left = ", ".join(f"candidates/{plan}" for plan in plans)
            reporter.say(
                f"note: what machines share at {uri} stays, models and shards too: remove {left} there yourself"
            )
        if not is_meant:
            return found, []
        tombstones = bury(git, found, because, user_name())
        carry_out(workspace.root, git, dvc, found, reporter.say)
    return found, tombstones


def _in_state(state: State, git: Git, dvc: Dvc, releases: Sequence[Release], plans: Sequence[str]) -> list[Path]:
    """The candidates of the plans, and what no other candidate in state uses of what they used."""
    used = Usage()
    for holding in read_holdings(git, dvc, releases):
        for manifest in _manifests(dvc, holding):
            used |= Usage(frozenset(job.model for job in manifest.jobs), frozenset({manifest.source}))
    for plan in plans:
        used |= read_usage(state, plan)
    used |= Usage(shards=shards_of(state, used.models))
    others = Usage()
    for folder in (state.root / "candidates").glob("*"):
        if folder.name not in plans:
            others |= read_usage(state, folder.name)
    candidates = [state.candidate(plan) for plan in plans if state.candidate(plan).exists()]
    return [*candidates, *(used - others).places(state)]


def _manifests(dvc: Dvc, holding: Holding) -> Iterator[Manifest]:
    """Of the release and of its children; a broken one tells nothing."""
    names = [name for name, path in holding.objects.items() if path.endswith("manifest.json")]
    for side in BOTH:
        for text in dvc.read(side, names) if names else ():
            try:
                yield Manifest.model_validate_json(text or "")
            except ValidationError:
                continue
