"""The content address that DVC gives a folder, computed by ourselves.

DVC names a file by its MD5, and a folder by the MD5 of a JSON list of (md5, relpath) with `.dir` behind it. With the same
rule here, one comparison tells whether a folder is what DVC recorded, what we placed, or somebody's edit.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")

_THREADS = max(4, os.cpu_count() or 1)  # they read, hash and copy, all of which leaves the interpreter free


@dataclass(frozen=True, slots=True)
class Tree:
    """The files of a folder: relative POSIX path -> MD5, and path -> size in bytes."""

    files: Mapping[str, str]
    sizes: Mapping[str, int]

    @property
    def listing(self) -> bytes:
        """The content of DVC's `.dir` object."""
        return listing_of(self.files)

    @property
    def address(self) -> str:
        """What dvc.lock holds as `md5` of the folder."""
        return f"{hash_bytes(self.listing)}.dir"

    def objects(self) -> dict[str, int]:
        """Every object that a cache or a remote must hold for this folder: name -> size in bytes."""
        found = {self.files[path]: self.sizes[path] for path in self.files}
        return {**found, self.address: len(self.listing)}


def listing_of(files: Mapping[str, str]) -> bytes:
    """The content of the `.dir` object of these files: relative POSIX path -> MD5."""
    return json.dumps([{"md5": files[path], "relpath": path} for path in sorted(files)], sort_keys=True).encode()


def read_tree(folder: Path) -> Tree:
    """Hash every file under `folder`; empty where there is no folder."""
    paths = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
    files = dict(zip(paths, in_threads(hash_file, paths.values()), strict=True))
    return Tree(files, {name: path.stat().st_size for name, path in paths.items()})


def in_threads(work: Callable[[T], R], items: Iterable[T]) -> list[R]:
    """The results in the order of the items. The first that raises ends it, and what has not begun is not done."""
    with ThreadPoolExecutor(_THREADS) as pool:
        try:
            return list(pool.map(work, items))
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def hash_bytes(content: bytes) -> str:
    """MD5 in hex, as a name and not as a protection."""
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


def hash_file(path: Path) -> str:
    """MD5 of a file's bytes in constant memory."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
