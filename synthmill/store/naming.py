"""The releases that a person names on a command line."""

from __future__ import annotations

from collections.abc import Sequence

from synthmill.errors import InputError
from synthmill.store.git import Git
from synthmill.store.versions import Release, read_releases
from synthmill.store.workspace import Workspace


def name_releases(workspace: Workspace, names: Sequence[str]) -> list[Release]:
    """Those of these names, each NAME@vX.Y.Z; every one where there are no names. InputError for one that does not exist."""
    found = {release.tag: release for release in read_releases(Git(workspace.root))}
    if unknown := [name for name in names if name not in found]:
        there = f"there are {', '.join(found)}" if found else "there is none yet"
        raise InputError(f"there is no release {unknown[0]}", where=unknown[0], hint=f"write NAME@vX.Y.Z; {there}")
    return [found[name] for name in dict.fromkeys(names)] if names else list(found.values())
