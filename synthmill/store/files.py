"""Files that appear whole or not at all: written aside, flushed to disk, renamed; and locks that die with their process."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO
from uuid import uuid4

from synthmill.errors import BusyError, StorageError

_FULL = {errno.ENOSPC, errno.EDQUOT}
_LEFTOVER_S = 3600.0


def publish_bytes(path: Path, data: bytes) -> None:
    """Write `data` at `path` atomically and durably; the folder is made where it is missing."""
    aside = aside_of(path)
    with storage_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with aside.open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            aside.replace(path)
        finally:
            aside.unlink(missing_ok=True)
        sync_folder(path.parent)


@contextmanager
def publishing(path: Path) -> Iterator[Path]:
    """A file aside for the block to write; at its end it is flushed and takes the name `path`, and when it raises it is gone."""
    aside = aside_of(path)
    with storage_errors(path):
        try:
            yield aside
            publish_file(aside, path)
        finally:
            aside.unlink(missing_ok=True)


def publish_file(aside: Path, path: Path) -> None:
    """Flush the file `aside` and give it the name `path`."""
    with storage_errors(path):
        _sync_file(aside)
        aside.replace(path)
        sync_folder(path.parent)


def publish_json(path: Path, content: Mapping[str, object]) -> None:
    """Write JSON with sorted keys, so that equal content is equal bytes."""
    publish_bytes(path, (json.dumps(content, sort_keys=True, indent=1, allow_nan=False) + "\n").encode())


def publish_folder(aside: Path, path: Path) -> None:
    """Flush every file under `aside` and rename it to `path`; where `path` exists already, the newcomer is dropped."""
    with storage_errors(path):
        for file in sorted(aside.rglob("*")):
            sync_folder(file) if file.is_dir() else _sync_file(file)
        sync_folder(aside)
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            aside.rename(path)
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
            shutil.rmtree(aside)
        sync_folder(path.parent)


def aside_of(path: Path) -> Path:
    """A name beside `path` that nobody else uses; leftovers of killed runs start with `.tmp-`."""
    return path.with_name(f".tmp-{uuid4().hex}-{path.name}")


def remove_leftovers(folder: Path) -> None:
    """Remove what killed runs left unfinished; younger files than an hour may belong to a run that lives."""
    for path in folder.glob(".tmp-*"):
        with suppress(FileNotFoundError):
            if time.time() - path.stat().st_mtime > _LEFTOVER_S:
                path.unlink()


def sync_folder(folder: Path) -> None:
    """Flush a folder's entries to disk."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _sync_file(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())


@contextmanager
def storage_errors(path: Path) -> Iterator[None]:
    """Turn the operating system's refusals into a StorageError that says which path and what to do."""
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise StorageError(
                "the disk is full", where=str(path), hint="free some space and run again: what is finished is kept"
            ) from error
        raise StorageError(f"cannot write: {error.strerror or error}", where=str(path)) from error


@contextmanager
def locked(path: Path, busy: str) -> Iterator[IO[bytes]]:
    """Hold an exclusive lock file for the block; raises BusyError(`busy`) at once where another process holds it."""
    with storage_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("ab")
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BusyError(busy, where=str(path), hint="wait for it to end; it needs no help") from None
        yield file


@contextmanager
def sharing(path: Path) -> Iterator[None]:
    """Hold a lock file together with others for the block; waits while one process has it for itself, as `gc` has for moments."""
    with _flocked(path, fcntl.LOCK_SH):
        yield


@contextmanager
def waiting_for(path: Path) -> Iterator[None]:
    """Hold an exclusive lock file for the block, once whoever holds it has let it go or died."""
    with _flocked(path, fcntl.LOCK_EX):
        yield


@contextmanager
def _flocked(path: Path, how: int) -> Iterator[None]:
    with storage_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("ab")
    with file:
        fcntl.flock(file, how)
        yield
