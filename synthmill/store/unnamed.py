"""Objects of the cache, or of the remote, that no tag, branch, index or work tree names: nothing but disk space hangs on them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from synthmill.errors import ReleaseError, StorageError
from synthmill.store.dvc import Dvc, Side, Stored
from synthmill.store.git import Git
from synthmill.store.holdings import address_of, read_claims, read_listings
from synthmill.store.tombstones import read_tombstones
from synthmill.store.versions import read_releases


def find_unnamed(root: Path, git: Git, dvc: Dvc, side: Side, before: float) -> dict[str, Stored]:
    """Those that were written before that time, in seconds since 1970; younger ones may belong to work that is not committed yet.

    StorageError where it cannot be known what is named: a folder's listing is missing, or the cache serves other workspaces too.
    """
    with _asking():
        if side == "cache" and not Path(dvc.place(side)).is_relative_to(root / ".dvc" / "cache"):
            raise StorageError(
                "the cache lies outside of the workspace, so others may use it",
                where=dvc.place(side),
                hint="`dvc gc --projects` knows of several",
            )
        named = _named(root, git, dvc)
        stored = dvc.contents(side)
        old = {name for name, found in stored.items() if found.written is not None and found.written < before}
        young = [name for name in stored if name not in old and name.endswith(".dir")]  # their files may be older
        named |= {name for files in read_listings(dvc, young, (side,)).values() for name in files.values()}
    return {name: stored[name] for name in sorted(old - named)}


def _named(root: Path, git: Git, dvc: Dvc) -> set[str]:
    """Every object that somebody names; what was purged is named in vain."""
    purged = read_tombstones(git)
    gone = {address_of(git, release) for release in read_releases(git) if release.tag in purged}
    claims = {address: places for address, places in read_claims(git, root).items() if address not in gone}
    folders = {address for address in claims if address.endswith(".dir")}
    listings = read_listings(dvc, folders, ("cache",))
    if folders - listings.keys():
        listings |= read_listings(dvc, folders - listings.keys(), ("remote",))
    for address in sorted(folders - listings.keys()):
        place = next((place for place in sorted(claims[address], key=str) if place.has_out(root, git, address)), None)
        if place is not None:
            raise StorageError(
                f"the listing {address} is neither in the cache nor on the remote, so its files cannot be told from rubbish",
                where=str(place),
                hint="`dvc fetch` may bring it, or another clone's cache has it; where it is lost for good, remove what names it",
            )
    return claims.keys() | {name for files in listings.values() for name in files.values()}


@contextmanager
def _asking() -> Iterator[None]:
    try:
        yield
    except ReleaseError as error:
        raise StorageError(error.what, where=error.where, hint="nothing of it was removed") from error
