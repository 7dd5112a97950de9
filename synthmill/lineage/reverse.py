"""Which releases came from a source: what a deletion request asks, so that nothing may be missed.

A release came from the source when one of its own sources is it (the same URI, a path that leads to the same place now or contains it, the
same bytes as DVC recorded them, the same fingerprint), or when it came from a release that did (its rows were a source, or a model
went on from one of that release). What held the same bytes once is the source too, under its other name, and is looked for as well.

A release that git tells too little of is neither found nor ruled out: it is listed as untold.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from synthmill.errors import InputError
from synthmill.lineage.family import Family, order, place_of
from synthmill.store.objects import hash_file, read_tree
from synthmill.store.provenance import SourceEntry
from synthmill.store.told import Told
from synthmill.store.versions import parse_version

_FINGERPRINT = re.compile(r"[0-9a-f]{8,32}")


@dataclass(frozen=True, slots=True)
class Descendant:
    """A release that came from the source; `why` in words, and whether that is certain."""

    tag: str
    why: tuple[str, ...]
    is_certain: bool


@dataclass(frozen=True, slots=True)
class Descent:
    """The answer: `untold` are releases of which it cannot be ruled out, with the reason."""

    source: str
    found: tuple[Descendant, ...]
    untold: tuple[tuple[str, str], ...]


@dataclass(slots=True)
class _Wanted:
    """All that the source is known by; it grows as releases are found."""

    root: Path
    uris: set[str] = field(default_factory=set)
    places: set[Path] = field(default_factory=set)
    hashes: set[str] = field(default_factory=set)
    fingerprints: set[str] = field(default_factory=set)
    prefix: str | None = None  # of a fingerprint, as it was asked for

    @property
    def is_there(self) -> bool:
        """It is a file or folder of this workspace, or of a folder that recipes may read."""
        return any(place.exists() for place in self.places)

    def add_uri(self, uri: str) -> None:
        self.uris.add(_plain(uri))
        if (place := place_of(self.root, uri)) is not None:
            self.places.add(place)

    def why(self, source: SourceEntry, told: Told) -> Iterator[str]:
        """How the source of a release is known to be this one."""
        if _plain(source.uri) in self.uris:
            yield f"its source is {source.uri}"
        elif (place := place_of(self.root, source.uri)) is not None and any(
            _overlap(place, one) for one in self.places
        ):
            yield f"its source {source.uri} leads there"
        md5 = told.hashes.get(source.uri)
        if md5 and md5 in self.hashes:
            yield f"its source {source.uri} held the same bytes"
        known = {value for value in (source.fingerprint, source.train) if value}
        if known & self.fingerprints or (self.prefix and any(value.startswith(self.prefix) for value in known)):
            yield f"its source {source.uri} has that fingerprint"

    def learn(self, source: SourceEntry, told: Told) -> None:
        """The source is this one, so all its names are names of this one."""
        self.add_uri(source.uri)
        self.hashes |= {md5} if (md5 := told.hashes.get(source.uri)) else set()
        self.fingerprints |= {value for value in (source.fingerprint, source.train) if value}


def find_descendants(family: Family, source: str) -> Descent:
    """By a path or URI as recipes write it, a fingerprint, or `NAME@vX.Y.Z`; InputError for a release that does not exist."""
    wanted = _Wanted(family.workspace.root)
    seeds: set[str] = set()
    if parse_version(source.partition("@")[2]) is not None:
        if source not in family.told:
            there = ", ".join(list(family.told)[-5:]) or "none"
            raise InputError("there is no such release", where=source, hint=f"there are {there}")
        seeds.add(source)
    else:
        wanted.add_uri(source)
        wanted.hashes |= set(_hashes(place_of(family.workspace.root, source)))
        wanted.prefix = source if _FINGERPRINT.fullmatch(source) else None
    found = _closure(family, wanted, seeds)
    if not found and not seeds and not wanted.is_there:
        _refuse_unknown(family, source)
    untold = {
        tag: why
        for tag, told in family.told.items()
        if tag not in {*found, *seeds} and (why := _why_untold(told, wanted))
    }
    return Descent(
        source,
        tuple(found[tag] for tag in sorted(found, key=order)),
        tuple((tag, untold[tag]) for tag in sorted(untold, key=order)),
    )


def _refuse_unknown(family: Family, source: str) -> None:
    """A slip of the pen must not read as `nothing came from it`."""
    known = list(dict.fromkeys(one.uri for told in family.told.values() for one in told.sources))
    near = difflib.get_close_matches(source, known, n=1)
    there = f"sources of releases: {', '.join(known[:20]) or 'none'}"
    hint = (
        f"did you mean {near[0]}? {there}"
        if near
        else f"{there}; a source is a path, a URI, a fingerprint or NAME@v1.0.0"
    )
    raise InputError("no release has such a source, and there is no such file", where=source, hint=hint)


def _closure(family: Family, wanted: _Wanted, seeds: set[str]) -> dict[str, Descendant]:
    """Look until nothing new is found: each release found may name the source anew, and may have descendants."""
    parents = {tag: family.parents(told) for tag, told in family.told.items()}
    found: dict[str, Descendant] = {}
    while True:
        before = _known(found, wanted)
        for tag, told in family.told.items():
            direct = [why for source in told.sources for why in _matched(wanted, source, told)]
            direct += _warm(wanted, told)
            above = [one for one in parents[tag] if one.tag in seeds or one.tag in found]
            certain = [one for one in above if one.is_certain and (one.tag in seeds or found[one.tag].is_certain)]
            why = (*direct, *(f"it came from {one.tag}: {one.how}" for one in above))
            if why and tag not in seeds:
                found[tag] = Descendant(tag, tuple(dict.fromkeys(why)), bool(direct or certain))
        if before == _known(found, wanted):
            return found


def _known(found: dict[str, Descendant], wanted: _Wanted) -> tuple[int, ...]:
    """It only ever grows, so equal counts are equal content."""
    certain = sum(one.is_certain for one in found.values())
    return len(found), certain, len(wanted.uris), len(wanted.hashes), len(wanted.fingerprints)


def _matched(wanted: _Wanted, source: SourceEntry, told: Told) -> list[str]:
    why = list(wanted.why(source, told))
    if why:
        wanted.learn(source, told)
    return why


def _warm(wanted: _Wanted, told: Told) -> list[str]:
    """A model that went on from one of the source, or a link of a format that has no other fingerprint."""

    def is_it(value: str) -> bool:
        return value in wanted.fingerprints or bool(wanted.prefix and value.startswith(wanted.prefix))

    found = [
        f"its model goes on from one that was fitted on {source[:12]}" for _, source in told.before if is_it(source)
    ]
    found += [
        f"its model was fitted on {link.source[:12]}" for link in told.links if is_it(link.source) or is_it(link.train)
    ]
    return found


def _why_untold(told: Told, wanted: _Wanted) -> str:
    """Why a release that was not found is not ruled out either; nothing for one that is."""
    if not told.sources:
        return "neither recipe nor metrics of its commit can be read"
    if wanted.prefix and not all(source.fingerprint for source in told.sources if source.role != "holdout"):
        return "its commit has no fingerprint of the source, and its manifest is not in the cache"
    return ""


def _hashes(place: Path | None) -> Iterator[str]:
    """What DVC would record for the file or folder as it is now."""
    if place is not None and place.is_file():
        yield hash_file(place)
    elif place is not None and place.is_dir():
        yield read_tree(place).address


def _plain(uri: str) -> str:
    return uri.removeprefix("./").rstrip("/")


def _overlap(one: Path, other: Path) -> bool:
    """The same place, or one contains the other: the row of a folder's file is a row of the folder."""
    return one == other or one in other.parents or other in one.parents
