"""What a person calls a release: `NAME@v1.2.0`, `NAME@prod`, or `NAME` for the latest that is not yanked.

release = resolve(git, "fair@prod")
stages_of(git, "fair")                    # {"prod": v1.1.0, "staging": v1.2.0}
yanked(git, "fair")                       # {v1.0.0: "ages are off"}

A yanked version is found where it is named, or is in the stage that is named: what is pinned keeps its meaning. Whoever hands
its rows on asks `yanked` and warns.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable

from synthmill.errors import InputError
from synthmill.store.git import Git
from synthmill.store.stage_tags import NO_TAGS, StageTags, read_stage_tags
from synthmill.store.versions import Release, Version, parse_version, read_releases

_REFERENCE = re.compile(r"(?P<dataset>[\w-]+)(?:[@#](?P<point>[\w./-]+))?")  # NAME#STAGE is how GTO writes it


def resolve(git: Git, text: str) -> Release:
    """The release that `text` names; InputError that says what there is, and the nearest name."""
    dataset, point = split_reference(text)
    releases = read_releases(git, dataset)
    if not releases:
        names = list(dict.fromkeys(release.dataset for release in read_releases(git)))
        there = f"there are releases of {', '.join(names)}" if names else "this workspace has no release yet"
        raise InputError(f"{dataset} has no release", where=text, hint=_hint(dataset, names, there))
    tags = read_stage_tags(git, dataset).get(dataset, NO_TAGS)
    if point is None:
        return _latest(releases, tags, text)
    version = parse_version(point)
    if version is not None:
        return _of_version(releases, version, text)
    return _in_stage(releases, tags, point, text)


def resolve_version(git: Git, text: str) -> Release:
    """The release that `text` names by its version: what is said of one for good names no stage, which may move."""
    dataset, point = split_reference(text)
    if point is None or parse_version(point) is None:
        raise InputError("this names no version", where=text, hint=f"write {dataset}@vX.Y.Z")
    return resolve(git, text)


def split_reference(text: str) -> tuple[str, str | None]:
    """The dataset, and the version or stage where there is one; InputError for what is no reference."""
    match = _REFERENCE.fullmatch(text.strip())
    if match is None:
        raise InputError("this names no release", where=text, hint="write NAME@v1.0.0, NAME@prod or NAME")
    return match["dataset"], match["point"]


def stages_of(git: Git, dataset: str) -> dict[str, Version]:
    """Stage -> the version that is in it, yanked or not."""
    tags = read_stage_tags(git, dataset).get(dataset, NO_TAGS)
    return find_stages(tags, read_releases(git, dataset)) if tags.assignments else {}


def yanked(git: Git, dataset: str) -> dict[Version, str]:
    """Yanked version -> the reason."""
    return dict(read_stage_tags(git, dataset).get(dataset, NO_TAGS).yanked)


def usable(git: Git, dataset: str) -> list[Release]:
    """The releases that are neither yanked nor purged, by version: what later ones are compared with and go on from."""
    gone = yanked(git, dataset)  # a tombstone is a yank to GTO and to us
    return [release for release in read_releases(git, dataset) if release.version not in gone]


def latest_beside(git: Git, dataset: str, plan: str) -> Release | None:
    """What a candidate of `plan` is judged against: the latest usable release of another plan.

    So a second run of a released plan is judged as its first was.
    """
    others = [found for found in usable(git, dataset) if found.identity is None or found.identity.plan != plan]
    return others[-1] if others else None


def find_stages(tags: StageTags, releases: Iterable[Release]) -> dict[str, Version]:
    """The same as `stages_of`, of tags and releases that are read already."""
    versions = {release.commit: release.version for release in releases}  # ascending: the last of a commit counts
    found = {stage: versions.get(tags.commit_in(stage) or "") for stage in sorted(tags.assignments)}
    return {stage: version for stage, version in found.items() if version is not None}


def _latest(releases: list[Release], tags: StageTags, text: str) -> Release:
    good = [release for release in releases if release.version not in tags.yanked]
    if not good:
        hint = f"name one all the same: {', '.join(release.tag for release in releases[-3:])}"
        raise InputError("every release of it is yanked", where=text, hint=hint)
    return good[-1]


def _of_version(releases: list[Release], version: Version, text: str) -> Release:
    found = {release.version: release for release in releases}
    if version not in found:
        raise InputError(f"{releases[0].dataset} has no release {version}", where=text, hint=_versions(releases))
    return found[version]


def _in_stage(releases: list[Release], tags: StageTags, stage: str, text: str) -> Release:
    stages, name = find_stages(tags, releases), releases[0].dataset
    if stage in stages:
        return _of_version(releases, stages[stage], text)
    if re.fullmatch(r"v?\d[\d.]*", stage):
        raise InputError(f"{stage} is no version, which is written vX.Y.Z", where=text, hint=_versions(releases))
    there = ", ".join(f"{found} is {version}" for found, version in stages.items())
    hint = _hint(stage, stages, there or f"no stage of it is set; `synthmill promote {name}@VERSION {stage}` sets one")
    raise InputError(f"no release of {name} is in the stage {stage}", where=text, hint=hint)


def _versions(releases: list[Release]) -> str:
    versions = [str(release.version) for release in releases]
    shown = versions if len(versions) <= 10 else [*versions[:3], "...", *versions[-6:]]
    return f"there are {', '.join(shown)}" if len(versions) > 1 else f"there is {versions[0]}"


def _hint(asked: str, names: Iterable[str], there: str) -> str:
    near = difflib.get_close_matches(asked, list(names), n=1)
    return f"did you mean {near[0]}? {there}" if near else there
