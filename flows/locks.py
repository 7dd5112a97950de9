"""Locks by flock: shared or exclusive, between processes of one machine, freed by the kernel when the holder dies."""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from synthmill.errors import BusyError

_POLL_S = 0.1


def take(path: Path, *, shared: bool = False) -> int | None:
    """The descriptor that holds the lock until it is closed, or None where another process stands in the way."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    with suppress(BlockingIOError):
        fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        return descriptor
    os.close(descriptor)
    return None


@contextmanager
def held(path: Path, *, shared: bool = False, deadline_s: float = 0.0) -> Iterator[None]:
    """Hold the lock within the block; BusyError when it was not to be had within `deadline_s` seconds."""
    deadline = time.monotonic() + deadline_s
    while (descriptor := take(path, shared=shared)) is None:
        if time.monotonic() > deadline:
            raise BusyError(
                "another process holds the lock", where=str(path), hint="wait until it ends, then run again"
            )
        time.sleep(_POLL_S)
    try:
        yield
    finally:
        os.close(descriptor)


def write_json(path: Path, value: Mapping[str, object]) -> None:
    """Readers see the old file or the new one, never a part: written aside, synced, renamed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_suffix(".part")
    with aside.open("w") as file:
        json.dump(value, file)
        file.flush()
        os.fsync(file.fileno())
    aside.replace(path)
