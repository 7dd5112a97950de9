"""The actors of one job: each kept at two shards, their answers taken, the lost replaced without stalling the others."""

from __future__ import annotations

import itertools
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

import ray
from ray.exceptions import OutOfMemoryError, RayError

from synthmill.child import POLL_S, Done, Failure
from synthmill.dispatch import Dispatch, Limits
from synthmill.pool.actors import Actor, Ref, ask
from synthmill.work import Shard, StagedShard

logger = logging.getLogger(__name__)

_SHARDS_IN_FLIGHT = 2  # so that an actor never waits for the driver
_LATE_S = 5.0  # for answers that an actor gave before it died


@dataclass(slots=True)
class _Actor:
    handle: Actor
    loading: Ref | None
    since: float
    making: dict[Ref, Shard] = field(default_factory=dict)


class Crew:
    """Runs the shards of a dispatch on `workers` actors; `start` gives a fresh actor and the answer of its loading."""

    def __init__(
        self,
        dispatch: Dispatch,
        board: Actor,
        start: Callable[[int], tuple[Actor, Ref]],
        *,
        workers: int,
        limits: Limits,
    ) -> None:
        self._dispatch, self._board, self._start, self._limits = dispatch, board, start, limits
        self._workers = workers
        self._numbers = itertools.count()
        self._actors: dict[int, _Actor] = {}
        self._checked = time.monotonic()

    def __enter__(self) -> Self:
        for _ in range(self._workers):
            self._add()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for actor in self._actors.values():
            ray.kill(actor.handle)

    @property
    def loaded(self) -> int:
        """How many actors are at work."""
        return sum(actor.loading is None for actor in self._actors.values())

    def step(self) -> None:
        """Hand out shards, wait at most POLL_S for one answer and take it, and see who is overdue. Raises as Dispatch does."""
        for worker, actor in self._actors.items():
            self._feed(worker, actor)
        owners = {
            ref: worker for worker, actor in self._actors.items() for ref in (actor.loading, *actor.making) if ref
        }
        answered, _ = ray.wait(list(owners), timeout=POLL_S)
        for ref in answered:
            self._take(owners[ref], ref)
        if time.monotonic() - self._checked >= POLL_S:
            self._kill_overdue()
            self._checked = time.monotonic()

    def _add(self) -> None:
        worker = next(self._numbers)
        handle, loading = self._start(worker)
        self._actors[worker] = _Actor(handle, loading, time.monotonic())

    def _feed(self, worker: int, actor: _Actor) -> None:
        while actor.loading is None and len(actor.making) < _SHARDS_IN_FLIGHT:
            shard = self._dispatch.send(worker)
            if shard is None:
                return
            actor.making[actor.handle.make.remote(shard)] = shard

    def _take(self, worker: int, ref: Ref) -> None:
        actor = self._actors[worker]
        try:
            answer = ray.get(ref)
        except RayError as death:
            self._bury(worker, reason_of(death))
            return
        if ref == actor.loading:
            actor.loading = None
            if isinstance(answer, Failure):
                self._refuse_ours(answer, "loading the model")
                self._replace(worker, answer.summary)
            return
        shard = actor.making.pop(ref)
        is_sick = self._settle(worker, shard, answer)
        if isinstance(answer, Failure) and (is_sick or self.loaded == 1):  # else another takes the shard
            self._replace(worker, answer.summary)

    def _settle(self, worker: int, shard: Shard, answer: Done[StagedShard] | Failure) -> bool:
        """Record or charge; True when the worker is sick."""
        if isinstance(answer, Done):
            self._dispatch.finish(worker, shard, answer.result)
            return False
        self._refuse_ours(answer, str(shard))
        return self._dispatch.fail(worker, shard, answer.summary)

    def _refuse_ours(self, failure: Failure, what: str) -> None:
        """An error of ours, such as a rule that fails or a full disk, is the same on every actor."""
        if failure.error:
            raise failure.error
        failure.log(what)

    def _bury(self, worker: int, reason: str) -> None:
        """Take what the dead had answered, charge the shard that it had started, replace it."""
        making = self._actors[worker].making
        for ref, shard in making.items():
            try:
                answer = ray.get(ref, timeout=_LATE_S)
            except RayError:
                continue
            self._settle(worker, shard, answer)
        started = self._started().get(worker)
        if started and started[0] in self._dispatch.in_flight(worker):
            self._dispatch.fail(worker, started[0], reason)
        self._replace(worker, reason)

    def _replace(self, worker: int, reason: str) -> None:
        ray.kill(self._actors.pop(worker).handle)
        logger.warning("worker %d is replaced: %s", worker, reason)
        self._dispatch.lose(worker, reason)
        self._add()

    def _kill_overdue(self) -> None:
        now, started = time.monotonic(), self._started()
        for worker, actor in list(self._actors.items()):
            if actor.loading is not None:
                if now - actor.since > self._limits.first_s:
                    self._replace(worker, f"the model was not loaded after {self._limits.first_s:.0f} s")
            elif worker in started:
                self._kill_if_overdue(worker, *started[worker])

    def _kill_if_overdue(self, worker: int, shard: Shard, seconds: float) -> None:
        deadline_s = self._dispatch.deadline_s(shard)
        if seconds > deadline_s and shard in self._dispatch.in_flight(worker):
            reason = f"not finished after {deadline_s:.0f} s"
            self._dispatch.fail(worker, shard, reason)
            self._replace(worker, reason)

    def _started(self) -> dict[int, tuple[Shard, float]]:
        return ask(self._board.started.remote()) or {}


def reason_of(death: RayError) -> str:
    """Why an actor does not answer, in a line; Ray's own account goes to the log."""
    logger.info("Ray says: %s", death)
    if isinstance(death, OutOfMemoryError):
        return "Ray killed the actor because its machine ran out of memory"
    return "the actor died, perhaps killed by the kernel for memory"
