"""Which shard a worker makes next, whom a failure is charged to, and when a shard is overdue. Under both engines.

A worker is an actor or a child process, known by a number that is never used again.
"""

from __future__ import annotations

import logging
import statistics
import time
from collections import deque
from dataclasses import dataclass

from synthmill.engine import Progress
from synthmill.errors import RunError
from synthmill.job_run import JobRun, retried
from synthmill.work import Shard, StagedShard

logger = logging.getLogger(__name__)

_FAILURES = 2  # on as many different workers a shard may fail before it is given up
_LOSSES = 3  # workers in a row that may be lost while nothing gets finished
_RECENT_SHARDS = 501  # enough for a steady median, and flat memory
_RECENT_S = 30.0

Range = tuple[str, int, int]  # a shard whatever its attempt


@dataclass(frozen=True, slots=True)
class Limits:
    """How long a shard may take, in seconds, before its worker is killed and the shard charged."""

    first_s: float = 600.0  # while nothing is known; also for loading a model
    least_s: float = 60.0
    times_median: float = 10.0  # of the finished shards' seconds a candidate


class Dispatch:
    """The shards of one job between the run's bookkeeping and the workers."""

    def __init__(self, run: JobRun, limits: Limits) -> None:
        self._run, self._limits = run, limits
        self._in_flight: dict[int, list[Shard]] = {}  # by worker, in the order they were sent
        self._waiting: deque[Shard] = deque()  # for another attempt; they keep their range
        self._failed_on: dict[Range, set[int]] = {}
        self._last_failed: dict[int, Range] = {}
        self._paces: deque[float] = deque(maxlen=_RECENT_SHARDS)  # seconds a candidate
        self._proven: set[int] = set()  # workers that finished something
        self._losses = 0  # of others, in a row
        self._retries = 0
        self._rows: deque[tuple[float, int]] = deque([(time.monotonic(), run.rows)])

    def send(self, worker: int) -> Shard | None:
        """The next shard for this worker; None while nothing is worth making, or what waits failed on this very worker."""
        shard = self._waiting_for(worker) or self._run.next_shard(self._running())
        if shard is not None:
            self._in_flight.setdefault(worker, []).append(shard)
        return shard

    def in_flight(self, worker: int) -> list[Shard]:
        """What the worker was sent and has not answered."""
        return self._in_flight.get(worker, [])

    def finish(self, worker: int, shard: Shard, staged: StagedShard) -> None:
        """Record a finished shard; raises as JobRun.record does."""
        self._in_flight[worker].remove(shard)
        self._last_failed.pop(worker, None)
        self._proven.add(worker)
        self._losses = 0
        self._paces.append(staged.seconds / (shard.stop - shard.start))
        self._run.record(shard, staged)

    def fail(self, worker: int, shard: Shard, reason: str) -> bool:
        """Charge a failure to a shard; True when the worker itself is to be replaced.

        Given up after failures on two different workers, which raises ShardError when the job may not lose that many.
        """
        self._in_flight[worker].remove(shard)
        failed_on = self._failed_on.setdefault(_range(shard), set())
        failed_on.add(worker)
        logger.warning("%s, attempt %d: %s", shard, shard.attempt, reason)
        if len(failed_on) >= _FAILURES:
            self._losses = 0  # it will not cost another worker
            self._run.quarantine(shard, reason)
        else:
            self._again(retried(shard))
        is_sick = self._last_failed.get(worker, _range(shard)) != _range(shard)
        self._last_failed[worker] = _range(shard)
        return is_sick

    def lose(self, worker: int, reason: str) -> None:
        """The worker is gone: what it had and was not charged waits for another one. Raises RunError when none lasts."""
        for shard in self._in_flight.pop(worker, []):
            self._again(shard)
        self._last_failed.pop(worker, None)
        self._losses += worker not in self._proven
        if self._losses >= _LOSSES:
            raise RunError(
                f"{self._losses} workers in a row were lost before they finished a shard; the last one: {reason}",
                where=f"jobs.{self._run.job.index}",
                hint="see the log; too little memory, or a generator that cannot run here, are the usual reasons",
            )

    def deadline_s(self, shard: Shard) -> float:
        """How long this shard may take from its start."""
        if not self._paces:
            return self._limits.first_s
        usual_s = statistics.median(self._paces) * (shard.stop - shard.start)
        return max(self._limits.least_s, self._limits.times_median * usual_s)

    def progress(self, workers: int) -> Progress:
        """How far the job is, with the pace of the last half minute."""
        now, rows, of = time.monotonic(), self._run.rows, self._run.job.rows
        self._rows.append((now, rows))
        while len(self._rows) > 2 and now - self._rows[1][0] > _RECENT_S:
            self._rows.popleft()
        (then, before) = self._rows[0]
        rows_per_s = (rows - before) / (now - then) if now > then else 0.0
        left = (of - rows) / rows_per_s if rows_per_s > 0 else None
        return Progress(rows, of, rows_per_s, self._run.rejects, left, workers, self._retries)

    def _waiting_for(self, worker: int) -> Shard | None:
        for shard in self._waiting:
            if worker not in self._failed_on.get(_range(shard), ()):
                self._waiting.remove(shard)
                return shard
        return None

    def _running(self) -> list[Shard]:
        return [*self._waiting, *(shard for shards in self._in_flight.values() for shard in shards)]

    def _again(self, shard: Shard) -> None:
        self._retries += 1
        self._waiting.append(shard)


def _range(shard: Shard) -> Range:
    return shard.stratum, shard.start, shard.stop
