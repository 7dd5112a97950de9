"""A child process: which objects does the cache, or the remote, really hold?

    python -m synthmill.store.dvc_objects cache|remote  < {"md5": size in bytes, ...}  > ["md5 that is missing", ...]

DVC believes: a read-only file in the cache is not hashed again, and a remote that has a folder's `.dir` object is taken to
have all of its files (`dvc push` then says "Everything is up to date"). So we look: every object is there with its size and, on
a local disk, with its MD5, and is flushed to the disk, which DVC never does. An object that does not match its name
serves nobody and is removed; with anything amiss the `.dir` object goes too, so that the next push looks at every file.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from synthmill.store.objects import hash_file

if TYPE_CHECKING:
    from dvc.repo import Repo
    from dvc_data.hashfile.db import HashFileDB


def main() -> int:
    """Answer on stdout; exit code 1 with one `ERROR:` line on stderr where the store cannot be reached."""
    objects: dict[str, int] = json.load(sys.stdin)
    try:
        lacking = _inspect(sys.argv[1], objects)
    except (OSError, ValueError) as error:
        print(f"ERROR: {error}", file=sys.stderr)  # noqa: T201
        return 1
    print(json.dumps(lacking))  # noqa: T201
    return 0


def _inspect(store: str, objects: dict[str, int]) -> list[str]:
    from dvc.exceptions import DvcException
    from dvc.repo import Repo

    try:
        with Repo() as repo:
            return find_lacking(repo.cache.local if store == "cache" else _open_remote(repo), objects)
    except DvcException as error:
        raise ValueError(str(error)) from error


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


def _is_whole(path: Path, name: str) -> bool:
    for place in (path, path.parent):
        descriptor = os.open(place, os.O_RDONLY)
        os.fsync(descriptor)
        os.close(descriptor)
    return hash_file(path) == name.removesuffix(".dir")


if __name__ == "__main__":
    sys.exit(main())
