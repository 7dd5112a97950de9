"""What is left of a purged release: its tag, and a second one that says why its bytes are gone.

The second is GTO's for a version that is no longer offered, `NAME@vX.Y.Z!`, annotated, with a message that begins with `purged:`; one that
was yanked before has that tag already, so its tombstone is `NAME@vX.Y.Z!#2`. The number of the version stays taken.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from synthmill.store.git import Git
from synthmill.store.versions import Release

_WORD = "purged: "
_TAG = re.compile(r"(?P<release>[a-z][a-z0-9-]*@v\d+\.\d+\.\d+)!(#(?P<number>\d+))?")
_FIELDS = "%(refname:strip=2)%00%(objecttype)%00%(taggerdate:short)%00%(contents:subject)"


@dataclass(frozen=True, slots=True)
class Tombstone:
    """Why and when a release was purged. Its bytes may still be there where the purge was killed."""

    release: str  # NAME@vX.Y.Z
    tag: str
    date: str  # ISO 8601, a day
    reason: str

    def __str__(self) -> str:
        return f"{self.release} was purged on {self.date} because: {self.reason}"


def read_tombstones(git: Git, dataset: str | None = None) -> dict[str, Tombstone]:
    """Every purged release of a dataset, or of all: the release's tag -> its tombstone."""
    found = {}
    for line in git.run("for-each-ref", f"--format={_FIELDS}", f"refs/tags/{dataset or '*'}@v*").splitlines():
        tag, kind, date, subject = line.split("\0")
        match = _TAG.fullmatch(tag)
        if match and kind == "tag" and subject.startswith(_WORD):
            release = match["release"]
            found[release] = Tombstone(release, tag, date, subject.removeprefix(_WORD))
    return found


def write_tombstone(git: Git, release: Release, reason: str, lines: Mapping[str, object]) -> Tombstone:
    """Tag the release as purged, for this `reason`, which is one line; `lines` are what else there is to remember of it."""
    taken = git.run("tag", "--list", f"{release.tag}!*").splitlines()
    tag = f"{release.tag}!" if not taken else f"{release.tag}!#{len(taken) + 1}"
    body = "\n".join(f"{name}: {value}" for name, value in lines.items())
    git.tag(tag, release.commit, f"{_WORD}{reason}\n\n{body}")
    return read_tombstones(git, release.dataset)[release.tag]
