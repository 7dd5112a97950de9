"""Put a folder in its place so that no reader, and no kill, ever sees half of it.

Write aside, fsync, rename. A folder that already stands is swapped by renameat2(RENAME_EXCHANGE); where the kernel or the file
system has no such call, two renames do, and `heal` finishes what a kill between them left.
"""

from __future__ import annotations

import ctypes
import errno
import os
import shutil
from pathlib import Path

from synthmill.store.files import storage_errors, sync_folder

_AT_FDCWD = -100  # linux/fcntl.h: paths are relative to the working directory
_RENAME_EXCHANGE = 2  # linux/fs.h
_UNSUPPORTED = (errno.ENOSYS, errno.EINVAL, errno.ENOTSUP)


def put_folder(source: Path, place: Path) -> None:
    """Copy `source` beside `place` and swap it in; the folder that stood there is removed."""
    aside = _aside(place)
    heal(place)
    with storage_errors(place):
        try:
            _copy(source, aside)
        except OSError:
            shutil.rmtree(aside, ignore_errors=True)
            raise
    if place.exists():
        if not exchange(aside, place):
            _swap_by_renames(aside, place)
    else:
        aside.rename(place)
    sync_folder(place.parent)
    heal(place)


def heal(place: Path) -> None:
    """Undo or clear what a killed `put_folder` left: afterwards only `place`, whole, old or new, is there."""
    old = _old(place)
    if old.exists() and not place.exists():
        old.rename(place)
    for left in (_aside(place), old):
        if left.exists():
            shutil.rmtree(left)


def exchange(one: Path, other: Path) -> bool:
    """Swap two folders atomically; False where this system cannot."""
    libc = ctypes.CDLL(None, use_errno=True)
    if not hasattr(libc, "renameat2"):  # not Linux, or a libc older than 2018
        return False
    if libc.renameat2(_AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other), _RENAME_EXCHANGE) == 0:
        return True
    code = ctypes.get_errno()
    if code in _UNSUPPORTED:
        return False
    raise OSError(code, os.strerror(code), str(one), None, str(other))


def _swap_by_renames(aside: Path, place: Path) -> None:
    place.rename(_old(place))
    aside.rename(place)


def _copy(source: Path, target: Path) -> None:
    target.mkdir(parents=True)
    for path in sorted(source.iterdir()):
        if path.is_dir():
            _copy(path, target / path.name)
        else:
            shutil.copyfile(path, target / path.name)
            with (target / path.name).open("rb") as file:
                os.fsync(file.fileno())
    sync_folder(target)


def _aside(place: Path) -> Path:
    return place.with_name(f".{place.name}.new")


def _old(place: Path) -> Path:
    return place.with_name(f".{place.name}.old")
