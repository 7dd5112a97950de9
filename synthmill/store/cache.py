"""Objects in a local folder, as DVC lays them out (AB/REST of their MD5), put there and linked out of it by ourselves.

`dvc commit` hashes every file, copies it, and hashes it again to link it back. Here each file is read once: it becomes the object where
the file system can share bytes, else it is copied. An object is flushed to the disk before it gets its name, and one that is there
is hashed: DVC would trust it because it is read-only.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from uuid import uuid4

from synthmill.store.files import aside_of, storage_errors, sync_folder
from synthmill.store.objects import Tree, hash_file, in_threads

Link = Literal["reflink", "hardlink", "symlink", "copy"]  # DVC's cache.type

_FICLONE = 0x40049409  # linux/fs.h
_CANNOT = {errno.EPERM, errno.ENOTSUP, errno.EXDEV, errno.ENOTTY, errno.ENOSYS, errno.EINVAL, errno.EMLINK}
_READ_ONLY, _SHARED = 0o444, 0o2775
_LEFTOVER_S = 86_400.0


@dataclass(frozen=True, slots=True)
class LocalStore:
    """DVC's cache, or a local remote; `root` is its files/md5. `is_shared`: the group writes too."""

    root: Path
    is_shared: bool = False

    def path(self, name: str) -> Path:
        """Where an object lies, or would."""
        return self.root / name[:2] / name[2:]

    def lacking(self, objects: Mapping[str, int]) -> list[str]:
        """Names of the objects (name -> size in bytes) that are missing or damaged; every byte is read."""
        whole = in_threads(lambda name: self._is_whole(name, objects[name]), objects)
        return [name for name, is_whole in zip(objects, whole, strict=True) if not is_whole]

    def drop(self, name: str) -> None:
        """See that no object has this name."""
        self.path(name).unlink(missing_ok=True)

    def take(self, files: Mapping[str, Path], links: Sequence[Link], *, are_proven: bool = False) -> list[str]:
        """Make each file the object of its name, by the first of `links` that works; returns the names that are not their MD5.

        A file of its own is read back; one that is linked was read already where `are_proven`. With any of those nothing is taken.
        What has its name is whole and on the disk, whenever a kill or the power comes.
        """
        aside = self.root / f".tmp-{uuid4().hex}"  # DVC passes over it
        self._drop_leftovers()
        aside.mkdir(parents=True)

        def take_one(name: str) -> bool:
            share(files[name], aside / name, links)
            (aside / name).chmod(_READ_ONLY)
            if are_proven and (aside / name).samefile(files[name]):
                return True
            return hash_file(aside / name) == name.removesuffix(".dir")

        try:
            is_right = in_threads(take_one, files)
            if damaged := [name for name, is_whole in zip(files, is_right, strict=True) if not is_whole]:
                return damaged
            flush(aside)
            self._name_all(aside, files)
        finally:
            shutil.rmtree(aside, ignore_errors=True)
        return []

    def put_listing(self, tree: Tree) -> None:
        """Write the `.dir` object, which says that all files of the tree are there: so it comes last."""
        aside = aside_of(self.root)
        aside.write_bytes(tree.listing)
        try:
            self.take({tree.address: aside}, ["copy"])
        finally:
            aside.unlink()

    def _is_whole(self, name: str, size_bytes: int) -> bool:
        path = self.path(name)
        try:
            return path.stat().st_size == size_bytes and hash_file(path) == name.removesuffix(".dir")
        except FileNotFoundError:
            return False

    def _name_all(self, aside: Path, names: Mapping[str, object]) -> None:
        for folder in {self.path(name).parent for name in names}:
            if not folder.exists():
                folder.mkdir(exist_ok=True)
                if self.is_shared:
                    folder.chmod(_SHARED)
        for name in names:
            (aside / name).replace(self.path(name))
        flush(self.root)

    def _drop_leftovers(self) -> None:
        """What was killed on its way here; a young one may be of another clone that lives."""
        for folder in self.root.glob(".tmp-*"):
            if time.time() - folder.stat().st_mtime > _LEFTOVER_S:
                shutil.rmtree(folder, ignore_errors=True)


def fill(store: LocalStore, folder: Path, tree: Tree, links: Sequence[Link]) -> list[str]:
    """Have every file of `folder` in the store; returns the files that do not hold the bytes that `tree` says: then none is new."""
    paths = {name: path for path, name in tree.files.items()}  # equal files are one object
    with storage_errors(store.root):
        lacking = store.lacking({name: tree.sizes[path] for name, path in paths.items()})
        # The file itself becomes the object where the two are to be one; a file that may be edited stays apart.
        shared = [link for link in links if link in ("reflink", "hardlink")]
        damaged = store.take({name: folder / paths[name] for name in lacking}, [*shared, "copy"])
        if not damaged:
            store.put_listing(tree)
    return sorted(paths[name] for name in damaged)


def link_out(store: LocalStore, folder: Path, tree: Tree, links: Sequence[Link]) -> None:
    """Have every file of `folder` share its bytes with its object, as far as `links` allow; each is replaced at once."""

    def link(path: str) -> None:
        place, source = folder / path, store.path(tree.files[path])
        if place.exists() and (place.samefile(source) or (links[0] == "copy" and hash_file(place) == tree.files[path])):
            return
        _replace(place, lambda aside: share(source, aside, links))

    with storage_errors(folder):
        in_threads(link, tree.files)


def _replace(place: Path, make: Callable[[Path], None]) -> None:
    aside = aside_of(place)
    try:
        make(aside)
        aside.replace(place)
    finally:
        aside.unlink(missing_ok=True)


def share(source: Path, place: Path, links: Sequence[Link]) -> None:
    """Make `place` hold the bytes of `source`, by the first kind of link that the file system knows."""
    for link in links:
        try:
            _MAKE[link](source, place)
        except OSError as error:
            place.unlink(missing_ok=True)
            if error.errno not in _CANNOT or link == links[-1]:
                raise
        else:
            return


def _reflink(source: Path, place: Path) -> None:
    with source.open("rb") as old, place.open("xb") as new:
        fcntl.ioctl(new.fileno(), _FICLONE, old.fileno())


def _copy(source: Path, place: Path) -> None:
    shutil.copyfile(source, place)


def _symlink(source: Path, place: Path) -> None:
    place.symlink_to(source)


_MAKE: Mapping[Link, Callable[[Path, Path], None]] = {
    "reflink": _reflink,
    "hardlink": os.link,
    "symlink": _symlink,
    "copy": _copy,
}


def flush(folder: Path) -> None:
    """Have everything on the disk that was written to the file system of `folder`: one call for any number of files."""
    libc = ctypes.CDLL(None, use_errno=True)
    if not hasattr(libc, "syncfs"):  # not Linux
        os.sync()
        return
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        if libc.syncfs(descriptor) != 0:
            code = ctypes.get_errno()
            raise OSError(code, os.strerror(code), str(folder))
    finally:
        os.close(descriptor)
    sync_folder(folder)
