"""Are the releases still what they were? Tags, listings, manifests, and every object in the cache and on the remote, read and hashed.

DVC does not look: it takes a read-only file in its cache for what its name says, and a remote's `.dir` object as proof that the folder's
files are there. An object is read once, however many releases have it. What looks wrong is looked at again with the workspace lock
in hand, so that a release or a purge under way is not taken for damage.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from synthmill.console import Reporter
from synthmill.errors import ReleaseError, StorageError
from synthmill.store.agreement import disagreements, sizes_of
from synthmill.store.dvc import Dvc, Found, Side
from synthmill.store.git import Git
from synthmill.store.holdings import BOTH, Holding, address_of, read_holdings
from synthmill.store.lock import ShouldStop
from synthmill.store.manifest import NAME as MANIFEST
from synthmill.store.mending import mend, mend_work_tree
from synthmill.store.tombstones import Tombstone, read_tombstones
from synthmill.store.versions import Release, read_releases
from synthmill.store.workspace import Workspace

_BATCH = 32  # objects between two words of progress
State = Literal["damaged", "missing", "wrong"]


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that is wrong. `object` is empty where it is no object's; `is_mended` once `--repair` has put it right."""

    place: Literal["git", "cache", "remote", "manifest"]
    state: State
    what: str
    releases: tuple[str, ...]
    object: str = ""
    is_mended: bool = False

    def __str__(self) -> str:
        of = f" of {', '.join(self.releases)}"
        named = f"{self.what}{of} is {self.state} (object {self.object})" if self.object else f"{self.what}{of}"
        return f"{self.place}: {named}{', mended' if self.is_mended else ''}"


@dataclass(frozen=True, slots=True)
class Findings:
    """What a verification came to. `absent` counts objects that the cache need not have: the remote brings them."""

    releases: tuple[str, ...]
    purged: tuple[Tombstone, ...]
    objects: int
    size_bytes: int  # read, on all sides together
    absent: int
    faults: tuple[Fault, ...]

    @property
    def open_faults(self) -> tuple[Fault, ...]:
        """Those that are not mended."""
        return tuple(fault for fault in self.faults if not fault.is_mended)


@dataclass(frozen=True, slots=True)
class Question:
    """Which sides to look at, and how closely; `repair` brings what is damaged from the other side."""

    sides: tuple[Side, ...] = BOTH
    sizes_only: bool = False  # on the remote; the cache is always read
    repair: bool = False


def verify(
    workspace: Workspace,
    releases: Sequence[Release],
    question: Question,
    reporter: Reporter,
    should_stop: ShouldStop = lambda: False,
) -> Findings:
    """Look at every byte of these releases; StorageError where a store cannot be asked at all, Interrupted."""
    git = Git(workspace.root)
    with _asking(), Dvc(workspace.root, None, should_stop) as dvc:
        look = _Look(git, dvc, question, reporter)
        purged = read_tombstones(git)
        findings = look.at([release for release in releases if release.tag not in purged])
        gone = [release for release in releases if release.tag in purged]
        left = look.left_of(gone)
        if findings.faults or left:
            with workspace.lock(reporter.say, should_stop) as (_, hand):
                findings = replace(findings, faults=(*look.again(findings.faults, releases), *look.left_of(gone)))
                if question.repair:
                    findings = replace(findings, faults=tuple(look.repaired(workspace.root, hand, findings)))
    return replace(findings, purged=tuple(purged[release.tag] for release in gone))


@dataclass(slots=True)
class _Look:
    """One look at the stores."""

    git: Git
    dvc: Dvc
    question: Question
    reporter: Reporter
    seen: dict[Side, dict[str, Found | None]] = field(default_factory=dict)

    def at(self, releases: Sequence[Release]) -> Findings:
        """All of it, at these releases; none of them is purged."""
        holdings = read_holdings(self.git, self.dvc, releases, self.question.sides)
        objects = {name: path for holding in holdings for name, path in holding.objects.items()}
        sizes = self._sizes(holdings) if self.question.sizes_only else {}
        for side in self.question.sides:
            self._survey(side, list(objects), sizes)
        faults = [*self._git_faults(holdings), *self._object_faults(holdings, objects, sizes)]
        faults += self._manifest_faults(holdings, {fault.object for fault in faults})
        present = [found for looked in self.seen.values() for found in looked.values() if found is not None]
        absent = sum(found is None for found in self.seen.get("cache", {}).values())
        tags = tuple(release.tag for release in releases)
        return Findings(tags, (), len(objects), sum(found.size for found in present), absent, tuple(faults))

    def again(self, faults: Sequence[Fault], releases: Sequence[Release]) -> list[Fault]:
        """Those of the faults that are still there: a purge may have taken the release, a release may have brought the object."""
        purged = read_tombstones(self.git)
        alive = {release.tag for release in releases if release.tag not in purged}
        there = [fault for fault in faults if alive.intersection(fault.releases)]
        for side in self.question.sides:
            self.seen[side] = {}
            self._survey(side, [fault.object for fault in there if fault.place == side], {})
        return [fault for fault in there if not fault.object or self._is_amiss(fault)]

    def left_of(self, purged: Sequence[Release]) -> list[Fault]:
        """Purges that were killed half-way, or of which this clone's cache was not told: the listing goes last.

        The same rows may have been released again: what a release needs is not left over.
        """
        gone = {release.tag for release in purged}
        kept = {address_of(self.git, release) for release in read_releases(self.git) if release.tag not in gone}
        holdings = read_holdings(self.git, self.dvc, purged, self.question.sides)
        what = "bytes of a purged release are still here; the same `synthmill purge` takes them away"
        return [
            Fault("git", "wrong", what, (holding.release.tag,))
            for holding in holdings
            if holding.files is not None and holding.address not in kept
        ]

    def repaired(self, root: Path, hand: Dvc, findings: Findings) -> Iterator[Fault]:
        """The faults, with those marked that the other side could mend; `hand` is a DVC that has the lock."""
        mended: dict[Side, set[str]] = {}
        for side in self.question.sides:
            names = [fault.object for fault in findings.faults if fault.place == side]
            mended[side] = mend(hand, side, names, self.reporter.say)
        here = self.seen.get("cache", {})
        damage = {name: found.md5 for name in mended.get("cache", ()) if (found := here.get(name))}
        if damage:
            releases = [release for release in read_releases(self.git) if release.tag in findings.releases]
            holdings = read_holdings(self.git, self.dvc, releases, self.question.sides)
            mend_work_tree(root, hand, holdings, damage, self.reporter.say)
        for fault in findings.faults:
            sides = [side for side in BOTH if side == fault.place and fault.object in mended.get(side, ())]
            yield replace(fault, is_mended=bool(sides))

    def _survey(self, side: Side, names: Sequence[str], sizes: Mapping[str, int]) -> None:
        """By size alone, on the remote, where that is asked for and the size is known; else by bytes."""
        looked = self.seen.setdefault(side, {})
        by_size = [name for name in names if side == "remote" and name in sizes]
        by_bytes = [name for name in names if side != "remote" or name not in sizes]
        for part, is_read in ((by_size, False), (by_bytes, True)):
            for start in range(0, len(part), _BATCH):
                batch = part[start : start + _BATCH]
                looked.update(zip(batch, self.dvc.survey(side, batch, by_bytes=is_read), strict=True))
                self.reporter.progress(f"verify {side}", len(looked), max(len(names), len(looked)))

    def _sizes(self, holdings: Sequence[Holding]) -> dict[str, int]:
        """What the manifests say that objects measure."""
        found: dict[str, int] = {}
        for holding, text in zip(holdings, self._manifests(holdings), strict=True):
            found.update(sizes_of(text, holding.files or {}) if text else {})
        return found

    def _manifests(self, holdings: Sequence[Holding]) -> list[str | None]:
        names = [(holding.files or {}).get(MANIFEST) for holding in holdings]
        texts: dict[str, str] = {}
        for side in self.question.sides:
            wanted = sorted({name for name in names if name and name not in texts})
            read = zip(wanted, self.dvc.read(side, wanted) if wanted else [], strict=True)
            texts.update({name: text for name, text in read if text is not None})
        return [texts.get(name or "") for name in names]

    def _git_faults(self, holdings: Sequence[Holding]) -> Iterator[Fault]:
        kinds = self.git.run("for-each-ref", "--format=%(refname:strip=2) %(objecttype)", "refs/tags")
        annotated = {line.split()[0] for line in kinds.splitlines() if line.endswith(" tag")}
        for holding in holdings:
            tag = holding.release.tag
            if tag not in annotated:
                yield Fault("git", "wrong", "a tag that is not annotated, which neither DVC nor GTO sees,", (tag,))
            if holding.address is None:
                yield Fault("git", "wrong", "a dvc.lock that does not record the dataset", (tag,))

    def _object_faults(
        self, holdings: Sequence[Holding], objects: Mapping[str, str], sizes: Mapping[str, int]
    ) -> Iterator[Fault]:
        owners: dict[str, list[str]] = {}
        for holding in holdings:
            for name in holding.objects:
                owners.setdefault(name, []).append(holding.release.tag)
        for side, looked in self.seen.items():
            for name, found in looked.items():
                if found is None and side == "remote":
                    yield Fault(side, "missing", objects[name], tuple(owners[name]), name)
                elif found is not None and not _is_whole(name, found, sizes.get(name)):
                    yield Fault(side, "damaged", objects[name], tuple(owners[name]), name)

    def _manifest_faults(self, holdings: Sequence[Holding], faulty: set[str]) -> Iterator[Fault]:
        seen = {
            name: found
            for looked in self.seen.values()
            for name, found in looked.items()
            if found and name not in faulty
        }
        for holding, text in zip(holdings, self._manifests(holdings), strict=True):
            files = holding.files
            if files is None:
                continue
            if MANIFEST not in files:
                yield Fault("manifest", "wrong", "no manifest.json in the listing", (holding.release.tag,))
            elif text is not None:  # else its object is a fault of its own, or lies on a side that was not asked
                for line in disagreements(text, files, seen):
                    yield Fault("manifest", "wrong", line, (holding.release.tag,))

    def _is_amiss(self, fault: Fault) -> bool:
        found = self.seen["cache" if fault.place == "cache" else "remote"].get(fault.object)
        if found is None:
            return fault.state == "missing"
        return not _is_whole(fault.object, found, None)


def _is_whole(name: str, found: Found, size: int | None) -> bool:
    return found.size == size if found.md5 is None else found.md5 == name.removesuffix(".dir")


@contextmanager
def _asking() -> Iterator[None]:
    """Outside of a release, what DVC could not do is the store's fault."""
    try:
        yield
    except ReleaseError as error:
        hint = "see that the cache and the remote can be reached, and run again; --cache looks at this side alone"
        raise StorageError(error.what, where=error.where, hint=hint) from error
