"""Move a stage from release to release, and yank a release: one more tag each, on the git remote before anybody is told.

The tag is made as an object, pushed, and only then named here; so a kill leaves either nothing or what the next fetch brings. Its
name is decided by what the stage was: of two clones that assign a stage at the same time the remote refuses one, which
fetches, looks again and takes the next number.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from synthmill.errors import InputError, ReleaseError
from synthmill.store.git import Git
from synthmill.store.lock import Progress
from synthmill.store.references import find_stages, resolve, split_reference
from synthmill.store.stage_tags import NO_TAGS, ROLLED_BACK, StageTags, read_stage_tags
from synthmill.store.tombstones import read_tombstones
from synthmill.store.upstream import Upstream, find_upstream
from synthmill.store.versions import Release, Version, parse_version, read_releases
from synthmill.store.workspace import Workspace

STAGES = ("dev", "staging", "prod")
_ATTEMPTS = 5
_Choice = tuple[Release, str]  # which release the stage is to have, and the message of its tag
_Choose = Callable[[Git, Sequence[Release], StageTags], _Choice]


@dataclass(frozen=True, slots=True)
class Move:
    """A stage that has its release: `before` is what it had, `tag` what says so, `remote` where that was pushed."""

    stage: str
    release: Release
    before: Version | None
    tag: str
    remote: str | None
    is_new: bool  # False where the release was there already
    reason: str | None  # why the release is yanked, where it is


@dataclass(frozen=True, slots=True)
class Yank:
    """A release that is yanked: why, which stages have it all the same, and where that was pushed."""

    release: Release
    reason: str
    stages: tuple[str, ...]
    remote: str | None
    is_new: bool  # False where it was yanked already, for the reason given here


def promote(
    workspace: Workspace,
    text: str,
    stage: str,
    progress: Progress,
    *,
    even_if_yanked: bool = False,
    is_dry_run: bool = False,
) -> Move:
    """Put the release that `text` names in the stage; InputError for another stage than ours or a yanked release."""
    _refuse_other_stages(stage)
    dataset, _ = split_reference(text)

    def choose(git: Git, releases: Sequence[Release], tags: StageTags) -> _Choice:
        chosen = resolve(git, text)
        return chosen, f"{chosen.tag} is {stage}"

    return _move(workspace, dataset, stage, choose, progress, even_if_yanked=even_if_yanked, is_dry_run=is_dry_run)


def rollback(
    workspace: Workspace,
    dataset: str,
    stage: str,
    progress: Progress,
    *,
    to: str | None = None,
    even_if_yanked: bool = False,
    is_dry_run: bool = False,
) -> Move:
    """Put the stage back to the release that it had before, or to version `to`. Yanked ones are skipped."""
    _refuse_other_stages(stage)
    if split_reference(dataset)[1] is not None:
        raise InputError("a stage goes back, not a version", where=dataset, hint="write NAME STAGE, and --to VERSION")
    seen: list[Version] = []

    def choose(git: Git, releases: Sequence[Release], tags: StageTags) -> _Choice:
        standing = find_stages(tags, releases).get(stage)
        if standing is None:
            if not releases:
                resolve(git, dataset)  # says so, and the nearest name
            hint = f"`synthmill promote {dataset}@VERSION {stage}` puts one there"
            raise InputError(f"no release of {dataset} is in {stage}", where=dataset, hint=hint)
        seen.append(standing)
        if to is None and standing != seen[0]:  # two people at night must not go back two releases
            what = f"{stage} of {dataset} was moved from {seen[0]} to {standing} by another clone meanwhile"
            raise ReleaseError(what, where=dataset, hint="Run again only if it is to go back further.")
        earlier = [resolve(git, f"{dataset}@{to}")] if to else _earlier(releases, tags, stage)
        if not earlier:
            what = f"{stage} has no earlier release to go back to: {standing} is the first that is not yanked or left"
            raise InputError(what, where=dataset, hint="name one with --to VERSION")
        return earlier[0], f"{ROLLED_BACK}{standing} to {earlier[0].version}: {dataset} {stage}"

    return _move(workspace, dataset, stage, choose, progress, even_if_yanked=even_if_yanked, is_dry_run=is_dry_run)


def yank(workspace: Workspace, text: str, reason: str, progress: Progress) -> Yank:
    """Say of one release, for good, that it is not to be used. Nothing is deleted, and no stage moves."""
    dataset, point = split_reference(text)
    if point is None or parse_version(point) is None:
        raise InputError("a yank names a version", where=text, hint=f"write {dataset}@vX.Y.Z")
    words = reason.strip()
    if not words or not words.isprintable():
        hint = "consumers read it: say in one line what is wrong with the rows"
        raise InputError("the reason must be one line of words", where=f"--reason {reason!r}", hint=hint)
    with workspace.lock(progress) as (git, _):
        upstream = refresh(git, dataset)
        release = resolve(git, text)
        tag = f"{release.tag}!"
        tags = _tags(git, dataset)
        is_new = release.version not in tags.yanked and _publish(git, upstream, release, tag, words, tags)
        if not is_new:
            _push_old(git, upstream, release.tag, tag)
        tags = _tags(git, dataset)
        found = find_stages(tags, read_releases(git, dataset))
        stages = tuple(stage for stage, version in found.items() if version == release.version)
        return Yank(release, tags.yanked[release.version], stages, _name(upstream), is_new)


def refresh(git: Git, dataset: str) -> Upstream | None:
    """Fetch what the git remote knows; None where there is none. ReleaseError without an answer."""
    upstream = find_upstream(git)
    if upstream is not None:
        try:
            upstream.fetch(attempts=2)
        except ReleaseError as error:
            what = f"the tags of {dataset} could not be fetched from the git remote {upstream.remote}: {error.what}"
            raise ReleaseError(
                what, where=error.where, hint=f"Nothing was changed. git says:\n  {error.hint}"
            ) from error
    return upstream


def _push_old(git: Git, upstream: Upstream | None, *tags: str) -> None:
    """Tags that may be older than the remote, or than its last answer."""
    here = git.refs("refs/tags")
    missing = set(upstream.unpushed(lambda name: name in tags)) if upstream else set()
    if upstream and missing:
        upstream.push(None, {name: here[name] for name in missing})


def _name(upstream: Upstream | None) -> str | None:
    return None if upstream is None else upstream.remote


def _move(
    workspace: Workspace,
    dataset: str,
    stage: str,
    choose: _Choose,
    progress: Progress,
    *,
    even_if_yanked: bool,
    is_dry_run: bool,
) -> Move:
    with workspace.lock(progress) as (git, _):
        for _ in range(_ATTEMPTS):
            upstream = refresh(git, dataset)
            releases, tags = read_releases(git, dataset), _tags(git, dataset)
            chosen, message = choose(git, releases, tags)
            before, last = find_stages(tags, releases).get(stage), tags.last_in(stage)
            reason = tags.yanked.get(chosen.version)
            if tombstone := read_tombstones(git, dataset).get(chosen.tag):
                raise InputError(str(tombstone), where=chosen.tag, hint="its bytes are gone for good; take another one")
            if last is not None and before == chosen.version:
                if not is_dry_run:
                    _push_old(git, upstream, chosen.tag, last.tag)
                return Move(stage, chosen, before, last.tag, _name(upstream), False, reason)
            if reason is not None and not even_if_yanked:
                hint = "take another one, or say --even-if-yanked"
                raise InputError(f"{chosen.tag} is yanked: {reason}", where=chosen.tag, hint=hint)
            tag = f"{dataset}#{stage}#{tags.next_number(stage)}"
            if is_dry_run or _publish(git, upstream, chosen, tag, message, tags):
                return Move(stage, chosen, before, tag, _name(upstream), True, reason)
            progress(f"{tag} was taken by another clone meanwhile: looking again")
    what = f"other clones keep assigning {stage} of {dataset}"
    raise ReleaseError(what, where=dataset, hint="Nothing was changed here. See who does, and run again.")


def _publish(git: Git, upstream: Upstream | None, release: Release, tag: str, message: str, tags: StageTags) -> bool:
    """Make the tag, on the remote together with the release's own and then here; False where somebody has pushed meanwhile."""
    now = max(int(time.time()), tags.last_time + 1)  # GTO and DVC go by the time, in whole seconds
    made = git.make_tag(tag, release.commit, message, time_s=now)
    if upstream is not None:
        rest = upstream.unpushed(lambda name: name == release.tag)
        if not upstream.push(None, {**rest, tag: made}):
            return False
    git.set_refs({f"refs/tags/{tag}": made})
    return True


def _tags(git: Git, dataset: str) -> StageTags:
    return read_stage_tags(git, dataset).get(dataset, NO_TAGS)


def _earlier(releases: Sequence[Release], tags: StageTags, stage: str) -> list[Release]:
    by_commit = {release.commit: release for release in releases}
    found = [by_commit[commit] for commit in tags.commits_before(stage) if commit in by_commit]
    return [release for release in found if release.version not in tags.yanked]


def _refuse_other_stages(stage: str) -> None:
    if stage not in STAGES:
        raise InputError(f"there is no stage {stage}", where=stage, hint=f"stages are {', '.join(STAGES)}")
