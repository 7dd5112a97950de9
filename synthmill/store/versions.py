"""Versions are git tags, `NAME@vX.Y.Z` (GTO's convention): reading them back, and choosing the next one."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from synthmill.store.git import Git

_TAG = re.compile(r"(?P<dataset>[a-z][a-z0-9-]*)@v(?P<major>\d+)\.(?P<minor>\d+)\.(?P<patch>\d+)")
_FIELDS = "%(refname:strip=2)%00%(objectname)%00%(*objectname)%00%(creatordate:iso-strict)"


class Version(NamedTuple):
    """A semantic version; versions compare as tuples do."""

    major: int
    minor: int
    patch: int

    def __str__(self) -> str:
        return f"v{self.major}.{self.minor}.{self.patch}"


@dataclass(frozen=True, slots=True)
class Identity:
    """What the next version is decided by: fingerprints, kept in metrics/NAME.json and so in git."""

    schema: str  # names and kinds of the columns
    code: str  # recipe, source, generator, codec and locked versions
    plan: str  # all of that, with rows and seed


@dataclass(frozen=True, slots=True)
class Release:
    """A released dataset as its tag, and metrics/NAME.json in the tagged commit, tell it."""

    dataset: str
    version: Version
    commit: str
    date: str  # ISO 8601, of the tag
    metrics: Mapping[str, object]
    identity: Identity | None  # None for a tag that Synthmill did not make

    @property
    def tag(self) -> str:
        """`NAME@vX.Y.Z`."""
        return f"{self.dataset}@{self.version}"

    @property
    def rows(self) -> int | None:
        """Rows of the dataset, where its metrics say so."""
        rows = self.metrics.get("rows")
        return rows if isinstance(rows, int) else None


def write_metrics(metrics: Mapping[str, object], identity: Identity) -> bytes:
    """The content of metrics/NAME.json: equal input gives equal bytes."""
    fingerprints = {"schema": identity.schema, "code": identity.code, "plan": identity.plan}
    content = {**metrics, "fingerprints": fingerprints}
    return (json.dumps(content, indent=2, sort_keys=True, allow_nan=False) + "\n").encode()


def read_releases(git: Git, dataset: str | None = None) -> list[Release]:
    """Every release of a dataset, or of all, by name and then by version."""
    lines = git.run("for-each-ref", f"--format={_FIELDS}", f"refs/tags/{dataset or '*'}@v*").splitlines()
    tags = [
        (match["dataset"], _version(match), target or object_id, date)
        for tag, object_id, target, date in (line.split("\0") for line in lines)
        if (match := _TAG.fullmatch(tag))
    ]
    contents = git.read_many([f"{commit}:metrics/{name}.json" for name, _, commit, _ in tags])
    found = [_read_release(*tag, content) for tag, content in zip(tags, contents, strict=True)]
    return sorted(found, key=lambda release: (release.dataset, release.version))


def parse_version(text: str) -> Version | None:
    """The version that `vX.Y.Z` says; None where the text is none."""
    match = _TAG.fullmatch(f"a@{text}")
    return _version(match) if match else None


def next_version(last: Release | None, identity: Identity) -> Version:
    """Major when the schema changed, minor when what makes the rows did, else patch; v1.0.0 is the first.

    After a tag without an identity nothing proves that the schema is the same, so the next is a major version.
    """
    if last is None:
        return Version(1, 0, 0)
    major, minor, patch = last.version
    if last.identity is None or last.identity.schema != identity.schema:
        return Version(major + 1, 0, 0)
    if last.identity.code != identity.code:
        return Version(major, minor + 1, 0)
    return Version(major, minor, patch + 1)


def _version(match: re.Match[str]) -> Version:
    return Version(*(int(match[part]) for part in ("major", "minor", "patch")))


def _read_release(dataset: str, version: Version, commit: str, date: str, content: bytes | None) -> Release:
    try:
        metrics = json.loads(content or b"{}")
    except json.JSONDecodeError:  # a tag made by hand on a broken file is still a version that is taken
        metrics = {}
    fingerprints = metrics.pop("fingerprints", None)
    identity = Identity(**fingerprints) if fingerprints else None
    return Release(dataset, version, commit, date, metrics, identity)
