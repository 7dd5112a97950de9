"""A child process that does what DVC is asked for, one order after the other; the only module that imports DVC.

    python -m synthmill.store.dvc_child  < ["commit", "digits"]\n["push", "digits"]\n...  > []\n[]\n...

    python -m synthmill.store.dvc_child get URL PATH REV OUT    copies a folder of another repository, in which nothing is ordered

An order that fails ends the process with a traceback, whose last line is the reason.

`inspect` exists because DVC believes: a read-only file in the cache is not hashed again, and a remote that has a folder's
`.dir` object is taken to have all of its files (`dvc push` then says "Everything is up to date"). So we look: every object is
there with its size and, on a local disk, with its MD5, and is flushed to the disk, which DVC never does. An object that does
not match its name serves nobody and is removed; with anything amiss the `.dir` object goes too, so that the next push looks
at every file.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO

from dvc.repo import Repo
from dvc.repo.open_repo import clean_repos
from dvc_data.hashfile.db import HashFileDB

from synthmill.store import dvc_stores
from synthmill.store.objects import hash_file


def main() -> None:
    """Obey orders until the input ends, which it also does when the parent is killed; or get what the arguments name."""
    if sys.argv[1:]:
        _get(*sys.argv[2:])
        return
    with _answers() as answers, Repo() as repo:
        for line in sys.stdin:
            order, subject = json.loads(line)
            print(json.dumps(_obey(repo, order, subject)), file=answers, flush=True)


def _answers() -> IO[str]:
    """The real stdout, for answers alone: DVC's own words go to stderr from here on."""
    channel = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    return channel


def _obey(repo: Repo, order: str, subject: str | dict[str, int] | list[str]) -> Sequence[object]:
    match order, subject:
        case "commit", str(stage):
            repo.commit(stage, force=True)
        case "relink", str(out):
            repo.checkout(targets=[out], relink=True)
        case "restore", str(out):
            repo.pull(targets=[out], force=True)
        case "push", str(stage):
            repo.push(targets=[stage])
        case "export", [str(address), str(to)]:
            _export(repo, address, Path(to))
        case "fetch", list(names):
            return dvc_stores.fetch(_open_remote(repo), repo.cache.local, names)
        case "inspect cache", dict(objects):
            return find_lacking(repo.cache.local, objects)
        case "inspect remote", dict(objects):
            return find_lacking(_open_remote(repo), objects)
        case str(), list(names):
            return dvc_stores.obey(order.split(), names, lambda side: _store(repo, side))
        case _:
            raise ValueError(f"unknown order: {order}")
    return []


def _store(repo: Repo, side: str) -> HashFileDB:
    return repo.cache.local if side == "cache" else _open_remote(repo)


def _get(url: str, path: str, rev: str, out: str) -> None:
    try:
        Repo.get(url, path, out=out, rev=rev)
    finally:
        clean_repos()  # DVC clones a URL into a temporary folder


def _open_remote(repo: Repo) -> HashFileDB:
    remote = repo.cloud.get_remote(command="push")
    # DVC would make the folder, on whatever lies below a mount point that is not mounted.
    if remote.fs.protocol == "local" and not Path(remote.path).is_dir():
        raise FileNotFoundError(f"the DVC remote {remote.path} is not there (moved, or not mounted?)")
    odb: HashFileDB = remote.odb
    return odb


def find_lacking(store: HashFileDB, objects: dict[str, int]) -> list[str]:
    """Names of objects that are missing or damaged; damaged ones, and then the folder's listing, are removed."""
    is_local = store.fs.protocol == "local"
    lacking = []
    for name, size in objects.items():
        path = store.oid_to_path(name)
        try:
            found = store.fs.info(path)["size"]
        except FileNotFoundError:
            lacking.append(name)
            continue
        if found != size or (is_local and not _is_whole(Path(path), name)):
            store.fs.remove(path)
            lacking.append(name)
    for listing in (name for name in objects if lacking and name.endswith(".dir") and name not in lacking):
        store.fs.remove(store.oid_to_path(listing))
        lacking.append(listing)
    return lacking


def _export(repo: Repo, address: str, to: Path) -> None:
    """Without `repo.switch`, which would read the remote's address from the old commit, where it may be another."""
    listing = to / ".listing"
    to.mkdir(parents=True)
    remotes: list[HashFileDB] = []
    _bring(repo, remotes, {listing: address})
    entries = json.loads(listing.read_bytes())
    listing.unlink()
    wanted = {(to / entry["relpath"]).resolve(): entry["md5"] for entry in entries}
    if outside := [path for path in wanted if not path.is_relative_to(to.resolve())]:
        raise ValueError(f"the folder's listing names a path outside of it: {outside[0]}")
    _bring(repo, remotes, wanted)


def _bring(repo: Repo, remotes: list[HashFileDB], wanted: dict[Path, str]) -> None:
    """Copy objects (place -> name), those that the cache has whole from there; `remotes` keeps the one that was opened."""
    missing = {path: name for path, name in wanted.items() if not _copy(repo.cache.local, name, path)}
    if not missing:
        return
    if not remotes:
        remotes.append(_open_remote(repo))
    with ThreadPoolExecutor(remotes[0].fs.jobs) as threads:
        is_whole = threads.map(lambda path: _copy(remotes[0], missing[path], path), missing)
    lacking = [path.name for path, found in zip(missing, is_whole, strict=True) if not found]
    if lacking:
        what = f"{len(lacking)} of {len(wanted)} objects are missing or damaged on the DVC remote"
        raise FileNotFoundError(f"{what}, one of them {lacking[0]}")


def _copy(store: HashFileDB, name: str, path: Path) -> bool:
    """Copy one object; False where the store lacks it, or holds other bytes under its name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        store.fs.get_file(store.oid_to_path(name), str(path))
    except FileNotFoundError:
        return False
    return hash_file(path) == name.removesuffix(".dir")


def _is_whole(path: Path, name: str) -> bool:
    for place in (path, path.parent):
        descriptor = os.open(place, os.O_RDONLY)
        os.fsync(descriptor)
        os.close(descriptor)
    return hash_file(path) == name.removesuffix(".dir")


if __name__ == "__main__":
    main()
