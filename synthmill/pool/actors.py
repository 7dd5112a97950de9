"""What runs on Ray's side: the fitter, the samplers, and the board that outlives them.

Every node needs the packages and plug-ins of the driver, in the same versions; nothing is shipped but models and rows. Actors are owned by
the driver, not detached, so that a dead driver frees its CPUs and GPUs.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias, cast

import pyarrow as pa
import ray
from ray.actor import ActorHandle

from synthmill.child import POLL_S, Done, Failure, attempt, prepare_process
from synthmill.kits import Kit
from synthmill.work import FitTask, FittedModel, Sampler, Shard, StagedShard, fit_model

Actor: TypeAlias = "ActorHandle[Any]"
Ref: TypeAlias = "ray.ObjectRef[Any]"

_LAST_WORD_S = 10.0  # a fit is done, and its last report on the way


class Board:
    """Where actors write what they are at: the dead cannot be asked which of two shards they had started."""

    def __init__(self) -> None:
        self._started: dict[int, tuple[Shard, float]] = {}
        self._progress: tuple[int, int, float] | None = None

    def start(self, worker: int, shard: Shard) -> None:
        """A worker begins a shard."""
        self._started[worker] = shard, time.monotonic()

    def started(self) -> dict[int, tuple[Shard, float]]:
        """The shard that each worker began last, and how many seconds ago."""
        now = time.monotonic()
        return {worker: (shard, now - since) for worker, (shard, since) in self._started.items()}

    def report(self, step: int, steps: int, loss: float) -> None:
        """A fit is at `step`."""
        self._progress = step, steps, loss

    def progress(self) -> tuple[int, int, float] | None:
        """The latest report, once."""
        latest, self._progress = self._progress, None
        return latest


class Fitter:
    """Fits one model; a process of its own."""

    def __init__(self, board: Actor) -> None:
        prepare_process()
        self._board = board
        self._told: list[Ref] = []

    def fit(self, task: FitTask, train: pa.Table) -> Done[FittedModel] | Failure:
        """Fit, and report progress without waiting for anyone; the last report is on the board before the answer is given."""
        answer = attempt(fit_model, task, train, self._report)
        if self._told:
            ray.wait(self._told, timeout=_LAST_WORD_S)
        return answer

    def _report(self, step: int, steps: int, loss: float) -> None:
        self._told = [self._board.report.remote(step, steps, loss)]


class Shards:
    """A loaded sampler; makes one shard after the other."""

    def __init__(self, worker: int, board: Actor) -> None:
        prepare_process()
        self._worker, self._board = worker, board
        self._staging: Path | None = None

    def load(self, kit: Kit, staging: Path, token: str) -> Done[None] | Failure:
        """Load the model, and find out whether the state's folder of all strata is the driver's own."""
        loaded = attempt(Sampler, kit)
        if isinstance(loaded, Failure):
            return loaded
        self._sampler = loaded.result
        self._staging = staging if _is_shared(staging, token) else None
        return Done(None)

    def make(self, shard: Shard) -> Done[StagedShard] | Failure:
        """Say that the shard is started, and make it. Stored here where staging is shared, else its bytes go back."""
        ray.get(self._board.start.remote(self._worker, shard))
        if self._staging:
            return attempt(self._sampler.stage, shard, self._staging)
        return attempt(self._sampler.make, shard)


class Mapper:
    """Does one task after the other with what was made of the shared input."""

    def __init__(self, make: Callable[[Any], Callable[[Any], Any]], shared: object) -> None:
        prepare_process()
        self._do = make(shared)

    def do(self, task: object) -> Done[Any] | Failure:
        """One task."""
        return attempt(self._do, task)


def _is_shared(staging: Path, token: str) -> bool:
    """Whether the driver's token lies here, in a folder that can be written."""
    try:
        return token_path(staging, token).is_file() and os.access(staging, os.W_OK)
    except OSError:
        return False


def start(kind: type, *args: object, cpus: int = 1, gpus: int = 0, restarts: int = 0) -> Actor:
    """A fresh actor of a class of this file; `restarts` -1: Ray brings it back, and repeats calls, without end."""
    remote = ray.remote(num_cpus=cpus, num_gpus=gpus, max_restarts=restarts, max_task_retries=restarts)
    return cast(Actor, remote(kind).remote(*args))


def token_path(staging: Path, token: str) -> Path:
    """Where the driver's token lies; a leftover counts as unfinished work."""
    return staging / f".tmp-token-{token}"


def ask(ref: Ref) -> Any:
    """The answer of a board, or None when it is not there within POLL_S: a driver never waits longer."""
    answered, _ = ray.wait([ref], timeout=POLL_S)
    return ray.get(ref) if answered else None
