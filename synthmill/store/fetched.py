"""Releases on the machine of a consumer: fetched once, checked, and then read from disk without a network.

CACHE/releases/ADDRESS/NAME/      a release's folder, named by its content: whole or not there, read-only
CACHE/repositories/               mirrors of git URLs (repository.py)
CACHE/locks/                      who fetches an address, others wait for
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from synthmill.errors import StorageError
from synthmill.store.dvc import get
from synthmill.store.files import aside_of, publish_folder, waiting_for
from synthmill.store.manifest import NAME, check, read_manifest
from synthmill.store.objects import read_tree
from synthmill.store.repository import Found
from synthmill.store.stage import Stage, read_address


def default_cache() -> Path:
    """`synthmill/` in the user's cache folder."""
    home = os.environ.get("XDG_CACHE_HOME")
    return (Path(home) if home else Path.home() / ".cache") / "synthmill"


def fetch(found: Found, cache: Path) -> Path:
    """The release's folder in the cache. StorageError where DVC cannot get it, or gets other bytes than were released."""
    release = found.release
    lock = found.git.read(release.commit, "dvc.lock")
    address = None if lock is None else read_address(lock.decode(), release.dataset)
    if address is None:
        what = f"the commit of {release.tag} names no data"
        raise StorageError(what, where=found.url, hint="was the tag made by hand? Pin another version")
    folder = cache / "releases" / address.removesuffix(".dir") / release.dataset
    if not _is_whole(folder):
        with waiting_for(cache / "locks" / address):
            if not _is_whole(folder):  # another process was faster
                shutil.rmtree(folder.parent, ignore_errors=True)  # damaged, or left by a killed one
                _fetch(found, address, folder, cache)
    return folder


def _fetch(found: Found, address: str, folder: Path, cache: Path) -> None:
    aside = aside_of(folder)
    aside.parent.mkdir(parents=True)
    try:
        get(found.url, Stage(found.release.dataset, "", ()).out, found.release.commit, aside, scratch=cache / "dvc")
        wrong = [] if read_tree(aside).address == address else ["it is not what dvc.lock names"]
        if wrong or (wrong := list(check(aside))):
            what = f"{found.release.tag} arrived damaged: {'; '.join(wrong[:3])}"
            raise StorageError(
                what, where=found.url, hint="load it again; where it stays so, run `synthmill verify` there"
            )
        for path in aside.rglob("*"):
            if path.is_file():
                _make_own(path)
        publish_folder(aside, folder)
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _make_own(path: Path) -> None:
    """A copy, where DVC has linked its own cache, that cannot be edited by mistake: everybody who pins this release reads it."""
    if path.stat().st_nlink > 1:
        copy = path.with_name(f"{path.name}.copy")
        shutil.copyfile(path, copy)
        copy.replace(path)
    path.chmod(0o444)


def _is_whole(folder: Path) -> bool:
    """Every file is there with its size. Their hashes were checked when they came."""
    if not (folder / NAME).is_file():
        return False
    paths = {entry.path: entry.size_bytes for entry in read_manifest(folder).files}
    return all((folder / path).is_file() and (folder / path).stat().st_size == size for path, size in paths.items())
