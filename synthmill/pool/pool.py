"""The pool: starts actors, loads each model once an actor, and outlives them.

Not ray.util.ActorPool, which keeps feeding a failing actor; not max_task_retries, which tries again on the same sick actor.
"""

from __future__ import annotations

import logging
import os
import secrets
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

import pyarrow as pa
import ray
from ray.exceptions import RayError

from synthmill import child
from synthmill.child import AGAIN, POLL_S, Done, Failure, Lost, Note
from synthmill.dispatch import Dispatch, Limits
from synthmill.engine import Progress, ShouldStop
from synthmill.errors import FitError
from synthmill.generator import FitProgress
from synthmill.job_run import JobRun
from synthmill.kits import Kit
from synthmill.pool.actors import Actor, Board, Fitter, Ref, Shards, ask, start, token_path
from synthmill.pool.crew import Crew, reason_of
from synthmill.pool.mapping import map_on_actors
from synthmill.pool.session import session
from synthmill.store.files import publish_bytes
from synthmill.work import FitTask, FittedModel

logger = logging.getLogger(__name__)

Shared = TypeVar("Shared")
Task = TypeVar("Task")
Result = TypeVar("Result")


class Pool:
    """An Engine of many workers, on this machine or on the cluster that `address` (by default RAY_ADDRESS) names.

    Ray is brought up or joined when it is needed for the first time in the block, so a run that finds everything starts none. Actors
    compute on GPUs, one an actor, where there are any.
    """

    def __init__(
        self,
        *,
        workers: int | None = None,
        address: str | None = None,
        device: str | None = None,
        limits: Limits | None = None,
    ) -> None:
        self._wanted_workers, self._wanted_device = workers, device
        self._address = address or os.environ.get("RAY_ADDRESS") or None
        self._limits = limits or Limits()
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    @cached_property
    def _resources(self) -> dict[str, float]:
        """What Ray has; starts it."""
        cpus = self._wanted_workers or len(os.sched_getaffinity(0))
        self._stack.enter_context(session(self._address, cpus))
        found: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
        return found

    @property
    def device(self) -> str:
        """See Engine."""
        has_gpus = bool(self._resources.get("GPU"))
        return self._wanted_device or ("cuda" if has_gpus else "cpu")

    @property
    def workers(self) -> int:
        """See Engine."""
        most = max(1, int(self._resources.get("GPU" if self.device == "cuda" else "CPU", 1)))
        return min(self._wanted_workers or most, most)

    def fit(self, task: FitTask, train: pa.Table, progress: FitProgress, should_stop: ShouldStop) -> FittedModel:
        """See Engine. In an actor of its own; one whose actor dies is tried once more."""
        what = f"the fit of {task.model.generator}"
        self._start()
        rows: Ref = ray.put(train)
        try:
            answer = self._fit_once(task, rows, progress, should_stop)
        except Lost as lost:
            logger.warning("%s starts over: %s", what, lost)
            try:
                answer = self._fit_once(task, rows, progress, should_stop)
            except Lost as again:
                raise FitError(f"{what} failed twice: {again}", hint=AGAIN) from None
        if isinstance(answer, Failure):
            answer.raise_as(FitError, what)
        return answer.result

    def _fit_once(
        self, task: FitTask, train: Ref, progress: FitProgress, should_stop: ShouldStop
    ) -> Done[FittedModel] | Failure:
        with _killed(_board()) as board, _killed(self._actor(Fitter, board)) as fitter:
            fitting: Ref = fitter.fit.remote(task, train)
            while not should_stop():
                answered, _ = ray.wait([fitting], timeout=POLL_S)
                if report := ask(board.progress.remote()):
                    progress(*report)
                if answered:
                    return _get(fitting)
        raise child.interrupted()

    def generate(
        self, run: JobRun, kit: Kit, staging: Path, progress: Callable[[Progress], None], should_stop: ShouldStop
    ) -> None:
        """See Engine. Where `staging` is the same folder to an actor and to the driver, the actor stores its shards itself."""
        self._start()
        dispatch, model = Dispatch(run, self._limits), ray.put(kit)
        with _killed(_board()) as board, _token(staging.resolve()) as token:

            def load(worker: int) -> tuple[Actor, Ref]:
                actor = self._actor(Shards, worker, board)
                return actor, actor.load.remote(model, staging.resolve(), token)

            with Crew(dispatch, board, load, workers=self.workers, limits=self._limits) as crew:
                while not run.is_complete:
                    if should_stop():
                        raise child.interrupted()
                    crew.step()
                    progress(dispatch.progress(crew.loaded))

    def call(
        self, function: Callable[[Task, Note], Result], task: Task, *, progress: Note, should_stop: ShouldStop
    ) -> Result:
        """See Engine. On this machine, not in an actor: what is called reads and writes the state folder."""
        return child.call(function, task, progress=progress, should_stop=should_stop)

    def map(
        self,
        make: Callable[[Shared], Callable[[Task], Result]],
        shared: Shared,
        tasks: Sequence[Task],
        *,
        progress: Note,
        should_stop: ShouldStop,
    ) -> list[Result | Failure]:
        """See Engine. An actor on each CPU of the cluster; `shared` reaches them through the object store."""
        actors = min(len(tasks), self._wanted_workers or max(1, int(self._resources.get("CPU", 1))))
        self._start()
        return map_on_actors(make, ray.put(shared), tasks, actors=actors, progress=progress, should_stop=should_stop)

    def _start(self) -> None:
        assert self._resources, "a Ray that runs has resources"

    def _actor(self, kind: type, *args: object) -> Actor:
        return start(kind, *args, gpus=1 if self.device == "cuda" else 0)


def _board() -> Actor:
    """A board comes back, empty, when its machine is lost; a death that it forgot is charged to nobody."""
    return start(Board, cpus=0, restarts=-1)


@contextmanager
def _killed(actor: Actor) -> Iterator[Actor]:
    """An actor for the block, dead after it."""
    try:
        yield actor
    finally:
        ray.kill(actor)


@contextmanager
def _token(staging: Path) -> Iterator[str]:
    """A file that only who shares the folder can see."""
    token = secrets.token_hex(16)
    path = token_path(staging, token)
    publish_bytes(path, b"")
    try:
        yield token
    finally:
        path.unlink(missing_ok=True)


def _get(fitting: Ref) -> Done[FittedModel] | Failure:
    try:
        answer: Done[FittedModel] | Failure = ray.get(fitting)
    except RayError as death:
        raise Lost(reason_of(death)) from None
    return answer
