"""The engine without Ray: one child process at a time on this machine, and the same bytes."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

import pyarrow as pa

from synthmill import child
from synthmill.child import AGAIN, Child, Done, Failure, Lost, Note, attempt
from synthmill.dispatch import Dispatch, Limits
from synthmill.engine import Progress, ShouldStop
from synthmill.errors import FitError
from synthmill.fan_out import fan_out
from synthmill.generator import FitProgress
from synthmill.job_run import JobRun
from synthmill.kits import Kit
from synthmill.work import FitTask, FittedModel, Sampler, StagedShard, fit_model

Shared = TypeVar("Shared")
Task = TypeVar("Task")
Result = TypeVar("Result")


class Inline:
    """An Engine of one worker. Every fit, every job and every call gets a fresh process; only `map` keeps all cores busy."""

    workers = 1

    def __init__(self, *, device: str = "cpu", limits: Limits | None = None) -> None:
        self.device = device
        self._limits = limits or Limits()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Nothing outlives a method, so nothing is left."""

    def fit(self, task: FitTask, train: pa.Table, progress: FitProgress, should_stop: ShouldStop) -> FittedModel:
        """See Engine."""
        what = f"the fit of {task.model.generator}"
        try:
            with Child(_fit, task, train) as fitting:
                while isinstance(message := fitting.wait(should_stop), tuple):
                    progress(*message)
        except Lost as lost:
            raise FitError(f"{what} failed: {lost}", hint=AGAIN) from None
        if isinstance(message, Failure):
            message.raise_as(FitError, what)
        assert isinstance(message, Done)
        assert isinstance(message.result, FittedModel)
        return message.result

    def generate(
        self, run: JobRun, kit: Kit, staging: Path, progress: Callable[[Progress], None], should_stop: ShouldStop
    ) -> None:
        """See Engine."""
        dispatch = Dispatch(run, self._limits)

        def make_until_lost(worker: int) -> None:
            with Child(_make_shards, kit, staging) as sampling:
                _result(sampling.wait(should_stop, self._limits.first_s))  # the model is loaded
                while not run.is_complete:
                    progress(dispatch.progress(workers=1))
                    _make_next(worker, sampling, dispatch, should_stop)
            progress(dispatch.progress(workers=1))

        for worker in itertools.count():
            if run.is_complete:
                return
            try:
                make_until_lost(worker)
            except Lost as lost:
                dispatch.lose(worker, str(lost))

    def call(
        self, function: Callable[[Task, Note], Result], task: Task, *, progress: Note, should_stop: ShouldStop
    ) -> Result:
        """See Engine."""
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
        """See Engine. A process for each core of this machine."""
        processes = len(os.sched_getaffinity(0))
        return fan_out(make, shared, tasks, processes=processes, progress=progress, should_stop=should_stop)


def _make_next(worker: int, sampling: Child, dispatch: Dispatch, should_stop: ShouldStop) -> None:
    """One more shard; raises Lost for whatever makes a fresh process the better choice."""
    shard = dispatch.send(worker)
    assert shard is not None, "nothing else is in flight, and a fresh worker has failed nothing"
    sampling.send(shard)
    try:
        staged = _result(sampling.wait(should_stop, dispatch.deadline_s(shard)))
    except Lost as lost:
        dispatch.fail(worker, shard, str(lost))
        raise
    assert isinstance(staged, StagedShard)
    dispatch.finish(worker, shard, staged)


def _result(answer: object) -> object:
    """What a child answered; raises its error where that is ours, Lost where it is another's."""
    if isinstance(answer, Failure):
        if answer.error:
            raise answer.error
        answer.log("a shard")
        raise Lost(answer.summary)
    assert isinstance(answer, Done)
    return answer.result


def _fit(pipe: Connection, task: FitTask, train: pa.Table) -> None:
    """In the child: progress as (step, steps, loss), then the model."""
    pipe.send(attempt(fit_model, task, train, lambda step, steps, loss: pipe.send((step, steps, loss))))


def _make_shards(pipe: Connection, kit: Kit, staging: Path) -> None:
    """In the child: load, say so, then an answer for every shard."""
    loaded = attempt(Sampler, kit)
    if isinstance(loaded, Failure):
        pipe.send(loaded)
        return
    pipe.send(Done(None))
    while True:
        pipe.send(attempt(loaded.result.stage, pipe.recv(), staging))
