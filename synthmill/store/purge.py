"""Take the bytes of releases away for good, here and on the remote: for a deletion request. The tags stay, and say so.

    fetch tags -> tombstones, pushed -> state, datasets/ -> rows -> the other files -> manifest -> listing -> dvc.lock, pushed

The tombstone comes first: from then on nobody is given the release, and a purge that was killed is known. The listing, which tells
what there is to remove, goes last, so that the same command finishes the work.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from synthmill.errors import InputError, ReleaseError, StorageError, WorkspaceError
from synthmill.store.catch_up import catch_up
from synthmill.store.dvc import Dvc, Side
from synthmill.store.files import publish_bytes, storage_errors
from synthmill.store.git import Git
from synthmill.store.holdings import BOTH, Holding, Place, address_of, read_claims, read_holdings, read_listings
from synthmill.store.lock import Progress
from synthmill.store.manifest import NAME as MANIFEST
from synthmill.store.objects import read_tree
from synthmill.store.placement import read_text
from synthmill.store.stage import Stage, drop_entry, read_address
from synthmill.store.tombstones import Tombstone, read_tombstones, write_tombstone
from synthmill.store.upstream import find_upstream
from synthmill.store.versions import Release, read_releases

_ATTEMPTS = 5
_DVC_FILES = ("dvc.yaml", "dvc.lock")  # in this order: a kill in between leaves the entry that asks for the rest


@dataclass(frozen=True, slots=True)
class Purge:
    """What goes with some releases. `objects` are in the order in which they go; `present` says which of them each side has."""

    holdings: tuple[Holding, ...]
    objects: tuple[str, ...]
    present: Mapping[Side, Mapping[str, int]]  # name -> size in bytes
    placed: tuple[Path, ...]  # files under datasets/
    state: tuple[Path, ...]
    shared: Mapping[str, tuple[str, ...]]  # path of a file that stays -> who else has it
    notes: tuple[str, ...]

    @property
    def tags(self) -> tuple[str, ...]:
        """The releases."""
        return tuple(holding.release.tag for holding in self.holdings)

    @property
    def is_done(self) -> bool:
        """Nothing of them is left within reach."""
        return not (self.placed or self.state or any(self.present.values()))


def fetch_tags(git: Git) -> None:
    """Have the releases of all clones, since one of them may share the bytes; ReleaseError where the git remote does not answer."""
    if upstream := find_upstream(git):
        try:
            upstream.fetch(attempts=2)
        except ReleaseError as error:
            hint = "nothing was removed: what others have released since, and may share, has to be known first"
            raise ReleaseError(f"the git remote {upstream.remote} is not to be had: {error.what}", hint=hint) from error


def plan_purge(root: Path, git: Git, dvc: Dvc, releases: Sequence[Release], state: Iterable[Path]) -> Purge:
    """InputError where rows are shared with a release that is not named; StorageError where nothing tells whose they are."""
    purged = read_tombstones(git)
    named = {release.tag for release in releases}
    holdings = read_holdings(git, dvc, releases)
    unnamed = [other for other in read_releases(git) if other.tag not in named | purged.keys()]
    others = read_holdings(git, dvc, unnamed)
    _refuse_unknown([h for h in holdings if h.release.tag not in purged], "nothing tells which objects hold its rows")
    _refuse_unknown(others, "nothing tells which objects it shares")
    _refuse_shared(holdings, others)
    elsewhere = _named_elsewhere(root, git, dvc)
    objects, shared = _parting(holdings, others, elsewhere)
    rows = {name for holding in holdings for name in holding.data}
    notes = [f"{place} names rows of it too, and will miss them" for place in sorted(_places(rows, elsewhere))]
    return Purge(
        tuple(holdings),
        objects,
        {side: _present(dvc, side, objects) for side in BOTH},
        tuple(_placed(root, holdings, set(objects))),
        tuple(state),
        shared,
        tuple(notes),
    )


def carry_out(root: Path, git: Git, dvc: Dvc, purge: Purge, say: Progress) -> None:
    """Remove all of it, once it is buried."""
    say(f"purge: {len(purge.state)} folders in state, {len(purge.placed)} files in datasets/")
    for path in (*purge.state, *purge.placed):
        _remove(path, root)
    for side in BOTH:
        names = [name for name in purge.objects if name in purge.present[side] and not name.endswith(".dir")]
        say(f"purge: {len(names)} objects in the {side}")
        dvc.remove(side, names)
    for side in BOTH:
        dvc.remove(side, [name for name in purge.objects if name.endswith(".dir")])
    if left := [name for side in BOTH for name in _present(dvc, side, purge.objects)]:
        raise StorageError(f"{len(left)} objects are still there", where=left[0], hint="run the same command again")
    say("purge: dvc.lock")
    _forget(root, git, purge)


def bury(git: Git, purge: Purge, reason: str, user: str) -> list[Tombstone]:
    """The tombstones of the releases, made where there is none, and pushed where there is a git remote."""
    standing = read_tombstones(git)
    for holding in purge.holdings:
        release = holding.release
        if release.tag not in standing:
            sizes = {name: size for side in BOTH for name, size in purge.present[side].items()}
            own = [name for name in holding.objects if name in sizes]
            lines = {
                "user": user,
                "rows": release.rows,
                "files": len(own),
                "bytes": sum(sizes[name] for name in own),
            }
            standing[release.tag] = write_tombstone(git, release, reason, lines)
    found = [standing[tag] for tag in purge.tags]
    _push_tombstones(git, found)
    return found


def _push_tombstones(git: Git, found: Sequence[Tombstone]) -> None:
    upstream, names = find_upstream(git), {tombstone.tag for tombstone in found}
    try:
        while upstream and (rest := upstream.unpushed(names.__contains__)) and not upstream.push(None, rest):
            upstream.fetch()
    except ReleaseError as error:
        hint = "nothing was removed yet; run the same command again"
        raise ReleaseError(f"the git remote refuses: {error.what}", hint=hint) from error


def _refuse_unknown(holdings: Sequence[Holding], why: str) -> None:
    for holding in holdings:
        if holding.address is not None and holding.files is None:
            raise StorageError(
                f"the listing of {holding.release.tag} is neither in the cache nor on the remote: {why}",
                where=holding.address,
                hint="bring it back from another clone's cache, or, if all of it is lost anyway, purge it too there",
            )


def _refuse_shared(holdings: Sequence[Holding], others: Sequence[Holding]) -> None:
    """Whoever wants rows gone wants them gone from every release: all that share them have to be named."""
    rows, left, found = {name for h in holdings for name in h.data}, list(others), []
    while sharing := [holding for holding in left if rows & holding.data.keys()]:
        found += sharing
        left = [holding for holding in left if holding not in sharing]
        rows |= {name for holding in sharing for name in holding.data}
    if found:
        tags = [holding.release.tag for holding in holdings]
        sharers = [holding.release.tag for holding in found]
        raise InputError(
            f"{', '.join(sharers)} {'has' if len(sharers) == 1 else 'have'} files of rows in common with it",
            where=", ".join(tags),
            hint=f"name them all: synthmill purge {' '.join([*tags, *sharers])}",
        )


def _named_elsewhere(root: Path, git: Git, dvc: Dvc) -> dict[str, set[Place]]:
    """Object -> places in git and the work tree that name it without being a release's own entry."""
    own = {address_of(git, release) for release in read_releases(git)}
    claims = {address: places for address, places in read_claims(git, root).items() if address not in own}
    found = {address: set(places) for address, places in claims.items()}
    for address, files in read_listings(dvc, (name for name in claims if name.endswith(".dir"))).items():
        for name in files.values():
            found.setdefault(name, set()).update(claims[address])
    return found


def _places(names: Iterable[str], elsewhere: Mapping[str, set[Place]]) -> set[Place]:
    return {place for name in names for place in elsewhere.get(name, ())}


def _parting(
    holdings: Sequence[Holding], others: Sequence[Holding], elsewhere: Mapping[str, set[Place]]
) -> tuple[tuple[str, ...], dict[str, tuple[str, ...]]]:
    """The objects that go, in their order, and the files that stay because others have them."""
    owners: dict[str, list[str]] = {}
    for other in others:
        for name in other.objects:
            owners.setdefault(name, []).append(other.release.tag)
    going: dict[str, int] = {}
    shared: dict[str, tuple[str, ...]] = {}
    for holding in holdings:
        for name, path in holding.objects.items():
            sharers = owners.get(name, []) + [str(place) for place in sorted(elsewhere.get(name, ()))]
            if sharers and name not in holding.data:
                shared[path] = tuple(sharers)
            else:
                is_late = (name not in holding.data) + path.endswith(MANIFEST) + 2 * name.endswith(".dir")
                going[name] = max(going.get(name, 0), is_late)
    return tuple(sorted(going, key=lambda name: (going[name], name))), shared


def _present(dvc: Dvc, side: Side, names: Sequence[str]) -> dict[str, int]:
    found = dvc.survey(side, names, by_bytes=False) if names else []
    return {name: there.size for name, there in zip(names, found, strict=True) if there is not None}


def _placed(root: Path, holdings: Sequence[Holding], going: set[str]) -> list[Path]:
    """The files under datasets/ with bytes that go, and all of a release that stands there; what a person put beside them stays."""
    found: dict[Path, None] = {}
    for holding in holdings:
        folder = root / Stage(holding.release.dataset, "", ()).out
        files, standing = holding.files or {}, read_tree(folder).files
        is_it = MANIFEST in files and standing.get(MANIFEST) == files[MANIFEST]
        for path, name in standing.items():
            if name in going or (is_it and files.get(path) == name):
                found[folder / path] = None
    return list(found)


def _remove(path: Path, root: Path) -> None:
    """The file or folder, and the folders above it that are left empty, up to those that every workspace has."""
    with storage_errors(path):
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
        for folder in path.parents:
            if folder.parent in (root, *root.parents) or not folder.is_dir() or any(folder.iterdir()):
                return
            folder.rmdir()


def _forget(root: Path, git: Git, purge: Purge) -> None:
    """Take the releases out of dvc.lock and dvc.yaml of HEAD, index and work tree, so that `dvc pull` does not ask for them; pushed."""
    if git.unmerged(_DVC_FILES):
        raise WorkspaceError(
            "dvc.lock or dvc.yaml is in a conflict", where=str(root), hint="resolve it, and run the same command again"
        )
    upstream = find_upstream(git)
    for _ in range(_ATTEMPTS):
        if upstream is not None:
            catch_up(root, git, upstream, (), lambda line: None)
        for path, content in _rest({path: read_text(root / path) for path in _DVC_FILES}, purge).items():
            publish_bytes(root / path, content)
        parent = str(git.head())
        committed, staged = (
            _rest({path: (git.read(base, path) or b"").decode() for path in _DVC_FILES}, purge) for base in ("HEAD", "")
        )
        commit = git.commit(committed, parent, f"Purge {', '.join(purge.tags)}") if committed else parent
        if upstream is not None and not upstream.push(commit, {}):
            continue
        if staged:
            git.stage(staged)
        if commit == parent or git.advance(commit, parent, "purge"):
            return
    hint = "the bytes are gone; run the same command again, since dvc.lock still asks for them"
    raise ReleaseError("the branch keeps moving", where=str(root), hint=hint)


def _rest(texts: Mapping[str, str], purge: Purge) -> dict[str, bytes]:
    """Those of the files, path -> text, that have to change, without the datasets whose bytes are gone."""
    addresses = {holding.release.dataset: set[str | None]() for holding in purge.holdings}
    for holding in purge.holdings:
        addresses[holding.release.dataset].add(holding.address)
    rest = dict(texts)
    for dataset, gone in addresses.items():
        if (address := read_address(texts["dvc.lock"], dataset)) is not None and address in gone:
            rest = {path: drop_entry(text, path, dataset) for path, text in rest.items()}
    return {path: text.encode() for path, text in rest.items() if text != texts[path]}
