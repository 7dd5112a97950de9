"""Ray's own processes: brought up in a private folder, or joined where there is an address; and gone again at the end of the block."""

from __future__ import annotations

import fcntl
import logging
import os
import secrets
import shutil
import signal
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import RayError

from synthmill.errors import RunError

_ROOT = Path("/tmp")  # not $TMPDIR: Ray puts unix sockets there, whose paths end at 107 bytes
_PREFIX = "synthmill-ray-"
_YOUNG_S = 60.0


@contextmanager
def session(address: str | None, cpus: int) -> Iterator[None]:
    """Ray for the block: the cluster at `address`, or one of our own with `cpus` CPUs, since a bare init joins any leftover."""
    if ray.is_initialized():
        raise RunError("Ray already runs in this process", hint="call ray.shutdown() first, or use the inline engine")
    options: dict[str, Any] = {"address": address}
    with ExitStack() as stack:
        if not address:
            os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))  # else Ray writes one into the home folder
            folder = stack.enter_context(_private_folder())
            options = {"address": "local", "num_cpus": cpus, "include_dashboard": False, "_temp_dir": str(folder)}
        stack.callback(ray.shutdown)
        with _own_sigterm():
            try:
                ray.init(log_to_driver=False, logging_level=logging.ERROR, **options)
            except (ConnectionError, OSError, RuntimeError, ValueError, RayError) as error:
                what = f"Ray does not start: {str(error).partition(chr(10))[0]}"
                where = "RAY_ADDRESS" if address else ""
                raise RunError(what, where=where, hint="--inline runs without Ray") from error
        yield


@contextmanager
def _own_sigterm() -> Iterator[None]:
    """Ray puts a handler of its own in the place of ours."""
    handler = signal.getsignal(signal.SIGTERM)
    yield
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, handler)


@contextmanager
def _private_folder() -> Iterator[Path]:
    """A folder that is removed with the block, or by the next run where this one is killed."""
    _sweep()
    folder = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=_ROOT))
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)  # Ray's logs may still be written to for a moment
        os.close(descriptor)


def _sweep() -> None:
    """Remove the folders of dead runs: old enough to be locked by their run, and not locked."""
    for folder in _ROOT.glob(f"{_PREFIX}*"):
        try:
            if time.time() - folder.stat().st_mtime < _YOUNG_S:
                continue
            descriptor = os.open(folder, os.O_RDONLY)
        except OSError:
            continue  # somebody else's, or gone already
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder, ignore_errors=True)
        except BlockingIOError:
            continue
        finally:
            os.close(descriptor)
