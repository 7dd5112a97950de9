"""A deletion request, carried out: the releases that it names, and what state keeps of their plans."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack

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
from synthmill.store.pull import FOLDER as PULLED
from synthmill.store.purge import Purge, bury, carry_out, fetch_tags, plan_purge
from synthmill.store.references import resolve_version, stages_of
from synthmill.store.shared import open_shared
from synthmill.store.state import State
from synthmill.store.told import read_told
from synthmill.store.tombstones import Tombstone, read_tombstones
from synthmill.store.versions import Release, read_releases
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
        used = _used(state, git, dvc, releases, plans)
        candidates = [state.candidate(plan) for plan in plans]
        here = [path for path in (*candidates, *used.places(state)) if path.exists()]
        found = plan_purge(workspace.root, git, dvc, releases, here)
        for note in _notes(workspace, git, releases):
            reporter.say(f"note: {note}")
        if not is_meant:
            return found, []
        tombstones = bury(git, found, because, user_name())
        open_shared(workspace, reporter.say, should_stop).forget([*candidates, *used.places(state)])
        carry_out(workspace.root, git, dvc, found, reporter.say)
    return found, tombstones


def _notes(workspace: Workspace, git: Git, releases: Sequence[Release]) -> Iterator[str]:
    """What a person may not think of: stages that lose their bytes, copies out of reach, other releases of the same rows."""
    told = {one.release.tag: one for one in read_told(git, read_releases(git))}
    named, buried = {release.tag for release in releases}, read_tombstones(git)
    for release in releases:
        stages = [stage for stage, version in stages_of(git, release.dataset).items() if version == release.version]
        if stages:
            yield f"{release.tag} is in {', '.join(stages)}, which then names no bytes: promote another release"
        pulled = workspace.root / PULLED / f"{release.dataset}-{release.version}"
        if pulled.exists():
            yield f"{pulled} is a copy that was pulled: it stays, and is yours to delete"
        models = told[release.tag].models
        kin = [tag for tag, one in told.items() if models & one.models and tag not in {*named, *buried}]
        if kin:
            yield f"the model of {release.tag} also made {', '.join(kin)}, which may hold the same rows: name them too if so"


def _used(state: State, git: Git, dvc: Dvc, releases: Sequence[Release], plans: Sequence[str]) -> Usage:
    """What no other candidate in state uses of what the plans used."""
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
    return used - others


def _manifests(dvc: Dvc, holding: Holding) -> Iterator[Manifest]:
    """Of the release and of its children; a broken one tells nothing."""
    names = [name for name, path in holding.objects.items() if path.endswith("manifest.json")]
    for side in BOTH:
        for text in dvc.read(side, names) if names else ():
            try:
                yield Manifest.model_validate_json(text or "")
            except ValidationError:
                continue
