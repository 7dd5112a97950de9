"""One release at a time in a workspace, orphans included.

The lock is a flock whose descriptor every git and DVC child inherits. So when a run is killed, its children keep the lock for as
long as they live, and the next run waits for them instead of racing them.
"""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from synthmill.errors import BusyError, Interrupted
from synthmill.store.files import storage_errors

Progress = Callable[[str], None]
ShouldStop = Callable[[], bool]

_WAIT_S = 600.0
_POLL_S = 0.1


@contextmanager
def hold(
    root: Path, progress: Progress, should_stop: ShouldStop = lambda: False, *, wait_s: float = _WAIT_S
) -> Iterator[int]:
    """Hold the lock of the workspace at `root`; yields the descriptor to hand to children. BusyError after `wait_s`, Interrupted."""
    path = root / ".synthmill" / "locks" / "workspace"
    with storage_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        _wait_for(descriptor, path, progress, should_stop, wait_s)
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, str(os.getpid()).encode(), 0)
        drop_dead_rwlock_entries(root / ".dvc" / "tmp")
        yield descriptor
    finally:
        os.close(descriptor)


def _wait_for(descriptor: int, path: Path, progress: Progress, should_stop: ShouldStop, wait_s: float) -> None:
    deadline = time.monotonic() + wait_s
    announced = False
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(descriptor, 20, 0).decode(errors="replace") or "?"
            if time.monotonic() > deadline:
                raise BusyError(
                    f"run {holder} (or a child it left) still releases from this workspace",
                    where=str(path),
                    hint="Wait for it, or stop it, and run again.",
                ) from None
            if should_stop():
                raise Interrupted("stopped while another release was under way", hint="run again to go on") from None
            if not announced:
                progress(f"release: waiting for run {holder}")
                announced = True
            time.sleep(_POLL_S)
        else:
            return


def drop_dead_rwlock_entries(dvc_tmp: Path) -> None:
    """Remove from DVC's rwlock what killed processes left.

    DVC drops entries of pids that do not exist, but one whose pid was given to another process blocks it for good, and half a
    file (it is written in place) stops every command. The guard is DVC's own.
    """
    path = dvc_tmp / "rwlock"
    if not path.exists():
        return
    with (dvc_tmp / "rwlock.lock").open("a+") as guard:
        fcntl.flock(guard, fcntl.LOCK_EX)
        try:
            entries = json.loads(path.read_bytes())
        except json.JSONDecodeError:
            path.unlink()
            return
        writers = {key: info for key, info in entries.get("write", {}).items() if _is_living_dvc(info["pid"])}
        readers = {
            key: [i for i in infos if _is_living_dvc(i["pid"])] for key, infos in entries.get("read", {}).items()
        }
        kept = {"write": writers, "read": {key: infos for key, infos in readers.items() if infos}}
        if kept != {"write": entries.get("write", {}), "read": entries.get("read", {})}:
            path.write_text(json.dumps(kept))


def _is_living_dvc(pid: int) -> bool:
    try:
        command = psutil.Process(pid).cmdline()
    except psutil.NoSuchProcess:  # or a zombie, which holds nothing any more
        return False
    except psutil.AccessDenied:
        return True  # somebody else's process: believe it
    return any("dvc" in word for word in command)
