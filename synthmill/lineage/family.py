"""All releases of a workspace and how they descend from each other: by rows of one in the source of another, or by a warm start."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath

from synthmill.errors import ReleaseError
from synthmill.store.git import Git
from synthmill.store.held import hold_of
from synthmill.store.objects import hash_bytes, listing_of
from synthmill.store.references import find_stages
from synthmill.store.stage_tags import StageTags, read_stage_tags
from synthmill.store.told import Told, read_told, with_fingerprint
from synthmill.store.upstream import find_upstream
from synthmill.store.versions import Version, read_releases
from synthmill.store.workspace import Workspace

_OUT = re.compile(r"(?:^|/)datasets/(?P<dataset>[a-z][a-z0-9-]*)(?:/|$)")


@dataclass(frozen=True, slots=True)
class Parent:
    """A release that another came from; `is_certain` is False where its bytes could not be compared."""

    tag: str
    how: str
    is_certain: bool = True


@dataclass(frozen=True)
class Family:
    """Every release by its tag. Read once; what others tag meanwhile is not in it."""

    workspace: Workspace
    git: Git
    told: Mapping[str, Told]
    notes: tuple[str, ...] = ()

    @cached_property
    def stages(self) -> Mapping[str, tuple[str, ...]]:
        """Tag -> the stages that hold it."""
        found: dict[str, tuple[str, ...]] = {}
        for dataset, tags in self._stage_tags.items():
            releases = [one.release for one in self.told.values() if one.release.dataset == dataset]
            for stage, version in find_stages(tags, releases).items():
                tag = f"{dataset}@{version}"
                found[tag] = (*found.get(tag, ()), stage)
        return found

    @cached_property
    def withdrawn(self) -> Mapping[str, str]:
        """Tag -> why it was yanked or purged."""
        return {
            f"{dataset}@{version}": reason
            for dataset, tags in self._stage_tags.items()
            for version, reason in tags.yanked.items()
        }

    @cached_property
    def _stage_tags(self) -> Mapping[str, StageTags]:
        return read_stage_tags(self.git)

    def parents(self, told: Told) -> list[Parent]:
        """The releases that this one came from, directly."""
        found = [parent for source in told.sources for parent in self._in_source(told, source.uri)]
        found += [Parent(tag, "its source is that release") for tag in told.revisions if tag in self.told]
        found += [
            Parent(tag, f"its model goes on from {model[:12]}")
            for model, _ in told.before
            if (tag := self.maker(model)) is not None and tag != told.release.tag
        ]
        return list({parent.tag: parent for parent in found}.values())

    def maker(self, model: str) -> str | None:
        """The first release that a model made rows of."""
        return next((tag for tag, told in self.told.items() if model in told.models), None)

    def _in_source(self, told: Told, uri: str) -> Iterator[Parent]:
        """Releases whose bytes the source held, wherever it lay; else, in the folder of a dataset, all that it could have held."""
        same = self._by_content.get(told.hashes.get(uri, ""), ())
        yield from (Parent(tag, f"{uri} held its bytes") for tag in same)
        match = _OUT.search(str(PurePosixPath(uri)))
        if match is None or same:
            return
        for one in self.told.values():
            if one.release.dataset == match["dataset"]:
                yield Parent(one.release.tag, f"{uri} may have held its rows", is_certain=False)

    @cached_property
    def _by_content(self) -> Mapping[str, tuple[str, ...]]:
        """What DVC calls a release's folder, each folder in it and each of its files of rows -> the releases that have it."""
        found: dict[str, tuple[str, ...]] = {}
        for tag, told in self.told.items():
            hold = hold_of(self.workspace, self.git, told.release)
            listing = hold.listing_at_hand() or {}
            names = {
                hold.address,
                *(listing[path] for path in listing if path.endswith(".parquet")),
                *_folders(listing),
            }
            for name in names - {None}:
                found[str(name)] = (*found.get(str(name), ()), tag)
        return found


def _folders(listing: Mapping[str, str]) -> Iterator[str]:
    """The content address of each folder in a release, such as data/."""
    for folder in {str(parent) for path in listing for parent in PurePosixPath(path).parents} - {"."}:
        below = {path.removeprefix(f"{folder}/"): md5 for path, md5 in listing.items() if path.startswith(f"{folder}/")}
        yield f"{hash_bytes(listing_of(below))}.dir"


def read_family(workspace: Workspace) -> Family:
    """Tags are fetched first where there is a git remote; `notes` say what could not be asked."""
    git = Git(workspace.root)
    notes = tuple(_fetch_tags(git))
    told = [_completed(workspace, git, one) for one in read_told(git, read_releases(git))]
    return Family(workspace, git, {one.release.tag: one for one in told}, notes)


def _fetch_tags(git: Git) -> Iterator[str]:
    upstream = find_upstream(git)
    if upstream is None:
        return
    try:
        upstream.fetch(attempts=2)
    except ReleaseError as error:
        yield f"the git remote {upstream.remote} was not asked for releases of others: {error.what}"


def _completed(workspace: Workspace, git: Git, told: Told) -> Told:
    """A release of an older metrics format, with what its manifest says where the cache holds that."""
    if told.jobs:
        return told
    manifest = hold_of(workspace, git, told.release).manifest_at_hand()
    if manifest is None:
        return told
    return with_fingerprint(told, manifest.source, {job.model: job.generator for job in manifest.jobs})


def order(tag: str) -> tuple[str, Version]:
    """Tags by name, then by version."""
    dataset, _, version = tag.partition("@v")
    major, minor, patch = map(int, version.split("."))
    return dataset, Version(major, minor, patch)


def place_of(root: Path, uri: str) -> Path | None:
    """Where a path of a recipe leads now, links resolved; None for what is no path."""
    if re.match(r"^[A-Za-z][A-Za-z0-9+.-]+:", uri):
        return None
    try:
        return (root / uri).resolve()
    except (OSError, ValueError, RuntimeError):
        return None
