"""What releases hold, and who else names an object: DVC's content addresses, read from git and from the listings of folders.

Everything that asks "may this object go, and whose is it?" asks here.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from synthmill.store.dvc import Dvc, Side
from synthmill.store.git import Git
from synthmill.store.stage import read_address, read_outs
from synthmill.store.versions import Release

BOTH: tuple[Side, Side] = ("cache", "remote")
_ADDRESS = re.compile(r"\b[0-9a-f]{32}(?:\.dir)?(?![0-9a-zA-Z])")
_PATTERN = r"[0-9a-f]{32}(\.dir)?"
_DVC_FILES = (":(top,glob)**/dvc.lock", ":(top,glob)**/*.dvc")
_AT_ONCE = 500  # revisions that one git process is asked for


@dataclass(frozen=True, slots=True)
class Holding:
    """What one release holds. `address` is None where its commit records no folder, `files` where no store has the listing."""

    release: Release
    address: str | None
    files: Mapping[str, str] | None  # relative path -> name of its object

    @property
    def objects(self) -> dict[str, str]:
        """Every object by name, with a path that it has; the listing itself has the folder's."""
        found = {name: path for path, name in (self.files or {}).items()}
        return {**found, self.address: "its listing"} if self.address else found

    @property
    def data(self) -> dict[str, str]:
        """The objects of rows alone, real or synthetic."""
        return {name: path for name, path in self.objects.items() if path.endswith(".parquet")}


def read_holdings(git: Git, dvc: Dvc, releases: Sequence[Release], sides: Sequence[Side] = BOTH) -> list[Holding]:
    """The holdings of releases, in their order; a listing comes from the first of `sides` that has it whole."""
    addresses = [address_of(git, release) for release in releases]
    listings = read_listings(dvc, {address for address in addresses if address}, sides)
    return [
        Holding(release, address, listings.get(address or ""))
        for release, address in zip(releases, addresses, strict=True)
    ]


def read_listings(dvc: Dvc, addresses: Iterable[str], sides: Sequence[Side] = BOTH) -> dict[str, dict[str, str]]:
    """Address of a folder -> its files, relative path -> object; those that are nowhere whole are left out."""
    found: dict[str, dict[str, str]] = {}
    for side in sides:
        if missing := sorted(set(addresses) - found.keys()):
            texts = zip(missing, dvc.read(side, missing), strict=True)
            found.update({address: _files(text) for address, text in texts if text is not None})
    return found


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """A dvc.lock or .dvc file at a revision, "" for the index, None for the work tree; `ref` is what people call it."""

    ref: str
    path: str
    revision: str | None

    def __str__(self) -> str:
        return f"{self.path} of {self.ref}"

    def has_out(self, root: Path, git: Git, address: str) -> bool:
        """It names the address as something that is made, not as something that a stage depends on, which DVC need not store."""
        in_tree = self.revision is None
        content = (root / self.path).read_bytes() if in_tree else git.read(self.revision, self.path)
        return address in read_outs((content or b"").decode(errors="replace"), self.path)


def read_claims(git: Git, root: Path) -> dict[str, set[Place]]:
    """Every content address that a ref, the index or the work tree names in a dvc.lock or .dvc file -> where.

    That is more than is needed (dependencies of stages, which DVC does not cache, are in it too), and so never too little.
    """
    claims: dict[str, set[Place]] = {}
    names = _tips(git)
    for start in range(0, len(names), _AT_ONCE):
        for line in git.grep(_PATTERN, list(names)[start : start + _AT_ONCE], _DVC_FILES):
            revision, _, place = line.partition(":")
            path, _, address = place.rpartition(":")
            claims.setdefault(address, set()).add(Place(names[revision], path, revision))
    for line in git.grep(_PATTERN, ["--cached"], _DVC_FILES):
        path, address = line.rsplit(":", 1)
        claims.setdefault(address, set()).add(Place("the index", path, ""))
    for path in git.run("ls-files", "--cached", "--others", "--exclude-standard", "--", *_DVC_FILES).splitlines():
        if (root / path).is_file():
            for address in _ADDRESS.findall((root / path).read_text(errors="replace")):
                claims.setdefault(address, set()).add(Place("the work tree", path, None))
    return claims


def _tips(git: Git) -> dict[str, str]:
    """The commits that refs and HEADs of work trees name -> the first name of each."""
    fields = "--format=%(objecttype) %(objectname) %(*objecttype) %(*objectname) %(refname:short)"
    found: dict[str, str] = {}
    for line in git.run("for-each-ref", fields).splitlines():
        kind, name, below, target, ref = line.split(" ", 4)
        if "commit" in (kind, below):
            found.setdefault(target if below == "commit" else name, ref)
    for line in git.run("worktree", "list", "--porcelain").splitlines():
        if line.startswith("HEAD ") and not line.endswith("0" * 40):
            found.setdefault(line.removeprefix("HEAD "), "HEAD")
    return found


def address_of(git: Git, release: Release) -> str | None:
    """The content address that its commit records."""
    text = git.read(release.commit, "dvc.lock")
    return None if text is None else read_address(text.decode(), release.dataset)


def _files(listing: str) -> dict[str, str]:
    return {str(entry["relpath"]): str(entry["md5"]) for entry in json.loads(listing)}
