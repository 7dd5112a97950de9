"""What both engines can do: fit a model, make the shards of a job, run a function, each in a process of its own.

An engine decides where and when work is done, never what comes out: the same plan gives the same bytes under any of them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self, TypeVar

import pyarrow as pa

from synthmill.child import Failure, Note
from synthmill.generator import FitProgress
from synthmill.job_run import JobRun
from synthmill.kits import Kit
from synthmill.work import FitTask, FittedModel

Shared = TypeVar("Shared")
Task = TypeVar("Task")
Result = TypeVar("Result")

ShouldStop = Callable[[], bool]
"""Asked at least once a second; once it says yes, the engine kills what it started and raises Interrupted."""


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a job is."""

    rows: int  # accepted and final
    of: int
    rows_per_s: float  # over the last half minute
    rejects: Mapping[str, int]  # judged candidates that did not become rows, by reason
    seconds_left: float | None  # None while nobody can tell
    workers: int  # alive and loaded
    retries: int  # shards that were sent out again


class Engine(Protocol):
    """A context manager: nothing it started is left when the block ends."""

    @property
    def workers(self) -> int:
        """How many shards are made at once."""
        ...

    @property
    def device(self) -> str:
        """Where models are fitted and loaded: goes into FitTask and Kit."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def fit(self, task: FitTask, train: pa.Table, progress: FitProgress, should_stop: ShouldStop) -> FittedModel:
        """Fit one model; raises FitError when it fails or its process dies, Interrupted."""
        ...

    def generate(
        self, run: JobRun, kit: Kit, staging: Path, progress: Callable[[Progress], None], should_stop: ShouldStop
    ) -> None:
        """Make shards into `staging` (the state's folder of all strata) until the run is complete.

        Raises ShardError and AcceptanceError as the run does, RunError when processes die without finishing anything, Interrupted.
        """
        ...

    def call(
        self, function: Callable[[Task, Note], Result], task: Task, *, progress: Note, should_stop: ShouldStop
    ) -> Result:
        """Run a plain function that pickles in a process of its own on this machine; raises what it raises, RunError, Interrupted."""
        ...

    def map(
        self,
        make: Callable[[Shared], Callable[[Task], Result]],
        shared: Shared,
        tasks: Sequence[Task],
        *,
        progress: Note,
        should_stop: ShouldStop,
    ) -> list[Result | Failure]:
        """`make(shared)(task)` for every task, several at once, each worker making once; the results in the order of the tasks.

        A Failure stands for a task that raised, or that lost its process twice. Raises Interrupted.
        """
        ...
