"""One job on its way: which shard to make next, what is finished, and when it is enough.

Pure bookkeeping under both engines. How far an engine runs ahead, in what order shards come back and how often it was killed
change which shards exist, never which candidates become rows.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow as pa

from synthmill.errors import AcceptanceError, ShardError
from synthmill.plan import JobPlan, StratumPlan
from synthmill.spec import Accept
from synthmill.store.staging import (
    FAILED,
    Judge,
    Receipt,
    resume_receipts,
    write_receipt,
    write_shard,
)
from synthmill.store.state import State
from synthmill.work import Shard, StagedShard

_SHARD_ROWS = 16_384  # candidates of the largest shard: a few seconds of work, some tens of MB
_SHARDS_A_WORKER = 4  # so that the last one does not leave the others idle


JobGiven = Callable[[int, int], pa.Table]
"""What is given for the slots [start, stop) of a child's job."""
OnFinished = Callable[[Path, Receipt], None]
"""Hears of every shard that was finished: the staging folder, and the receipt that is in it."""


@dataclass(slots=True)
class _Stream:
    """One stratum: its judge, and the finished shards that the frontier has not reached."""

    plan: StratumPlan
    place: int  # in its job
    judge: Judge
    waiting: list[Receipt]
    examined: int = 0  # candidates in finished shards, also beyond the frontier
    accepted: int = 0  # rows in them, before `unique`


class JobRun:
    """The state of one job's generation, rebuilt from receipts and shards at each start."""

    def __init__(
        self,
        job: JobPlan,
        accept: Accept,
        state: State,
        *,
        workers: int,
        slots: JobGiven | None = None,
        on_finished: OnFinished = lambda folder, receipt: None,
    ) -> None:
        """With `slots` every candidate is wanted: its attempts were made where it was."""
        self._on_finished = on_finished
        self.job, self._accept, self._state, self._workers, self._slots = job, accept, state, workers, slots
        opened = [self._open(place, stratum) for place, stratum in enumerate(job.strata) if stratum.rows]
        self._streams = {stream.plan.fingerprint: stream for stream in opened}
        self._failed = 0
        for stream in opened:
            self._advance(stream)

    def _open(self, place: int, stratum: StratumPlan) -> _Stream:
        folder = self._state.staging(stratum.staging)
        receipts = resume_receipts(folder)
        batches = math.ceil(self._accept.candidates_per_row * stratum.rows / self.job.micro_batch)
        limit = batches * self.job.micro_batch if self._slots is None else stratum.rows  # the same for every run
        judge = Judge(folder, rows=stratum.rows, limit=limit, unique=self._accept.unique)
        stream = _Stream(stratum, place, judge, receipts)
        for receipt in receipts:
            stream.examined += receipt.stop - receipt.start
            stream.accepted += receipt.rows
        return stream

    @property
    def rows(self) -> int:
        """Rows accepted so far; they are final."""
        return sum(stream.judge.tally.accepted for stream in self._streams.values())

    @property
    def rejects(self) -> dict[str, int]:
        """Judged candidates that did not become rows, by reason."""
        total: dict[str, int] = {}
        for stream in self._streams.values():
            for reason, count in stream.judge.tally.rejects.items():
                total[reason] = total.get(reason, 0) + count
        return total

    @property
    def is_complete(self) -> bool:
        """Every stratum has its rows."""
        return all(stream.judge.is_complete for stream in self._streams.values())

    def next_shard(self, in_flight: Iterable[Shard]) -> Shard | None:
        """The next range worth making, or None while what is in flight should be enough."""
        running = list(in_flight)
        for fingerprint, stream in self._streams.items():
            if stream.judge.is_complete:
                continue
            own = [shard for shard in running if shard.stratum == fingerprint]
            if (span := self._next_range(stream, own)) is not None:
                start, stop = span
                given = None if self._slots is None else self._slots(start, self._whole(stop))
                return Shard(self.job.index, stream.place, fingerprint, start, stop, given=given)
        return None

    def _whole(self, stop: int) -> int:
        """The end of the micro-batch that a range ends in."""
        return math.ceil(stop / self.job.micro_batch) * self.job.micro_batch

    def _next_range(self, stream: _Stream, running: list[Shard]) -> tuple[int, int] | None:
        judge = stream.judge
        taken = sorted([(r.start, r.stop) for r in stream.waiting] + [(s.start, s.stop) for s in running])
        start, hole_end = _first_gap(judge.position, taken)
        rate = (stream.accepted + 1) / (stream.examined + 1)
        waiting = sum(receipt.rows for receipt in stream.waiting)
        missing = judge.rows - judge.tally.accepted - waiting - rate * sum(s.stop - s.start for s in running)
        if start >= judge.limit or (missing <= 0 and hole_end is None):
            return None  # a hole is always worth making: it holds the frontier back
        micro_batch = self.job.micro_batch
        candidates = (missing / rate / (self._workers * _SHARDS_A_WORKER)) if hole_end is None else hole_end - start
        batches = max(1, min(math.ceil(candidates / micro_batch), _SHARD_ROWS // micro_batch))
        return start, min(start + batches * micro_batch, judge.limit, hole_end or judge.limit)

    def record(self, shard: Shard, staged: StagedShard) -> Receipt:
        """Store what an engine made of a shard and move the frontier; raises AcceptanceError when the budget is spent."""
        stream = self._streams[shard.stratum]
        folder = stream.judge.folder
        file = staged.file or write_shard(folder, staged.data)
        receipt = Receipt(
            start=shard.start,
            stop=shard.stop,
            file=file,
            rows=staged.rows,
            rejects=dict(staged.rejects),
            model=self.job.model,
            level=staged.level,
            attempts=shard.attempt,
            seconds=round(staged.seconds, 3),
            usage=dict(staged.usage),
        )
        self._take(stream, receipt)
        return receipt

    def quarantine(self, shard: Shard, reason: str) -> Receipt:
        """Give a shard up as failed; raises ShardError when the job may not lose that many candidates."""
        stream = self._streams[shard.stratum]
        lost = shard.stop - shard.start
        self._failed += lost
        examined = sum(s.examined for s in self._streams.values()) + lost
        candidates = max(
            examined, self.job.rows
        )  # it will be as many at least, so an early failure costs no more than a late one
        allowed = max(1, int(self._accept.max_failed * candidates))
        if self._failed > allowed:
            raise ShardError(
                f"candidates {shard.start}..{shard.stop - 1} of {stream.plan.label} failed on {shard.attempt} actors: {reason}; "
                f"{self._failed:,} lost, accept.max_failed allows {allowed:,}",
                where=f"jobs.{self.job.index}",
                hint="the last error above says why; what is finished is kept, run again to resume",
            )
        receipt = Receipt(shard.start, shard.stop, "", 0, {FAILED: lost}, self.job.model, "statistical", shard.attempt)
        self._take(stream, receipt)
        return receipt

    def _take(self, stream: _Stream, receipt: Receipt) -> None:
        write_receipt(stream.judge.folder, receipt)
        self._on_finished(stream.judge.folder, receipt)
        stream.examined += receipt.stop - receipt.start
        stream.accepted += receipt.rows
        stream.waiting = sorted([*stream.waiting, receipt], key=lambda r: (r.start, -r.stop))
        self._advance(stream)

    def _advance(self, stream: _Stream) -> None:
        judge = stream.judge
        while stream.waiting and stream.waiting[0].start <= judge.position and not judge.is_complete:
            receipt = stream.waiting.pop(0)
            if receipt.stop > judge.position:
                for _ in judge.judge(receipt):
                    pass
        if judge.is_exhausted:
            self._stop_short(stream)

    def _stop_short(self, stream: _Stream) -> None:
        tally = stream.judge.tally
        reasons = ", ".join(f"{count:,} {reason}" for reason, count in tally.rejects.most_common(5))
        raise AcceptanceError(
            f"stratum {stream.plan.label}: {tally.accepted:,} of {stream.judge.rows:,} rows after {tally.candidates:,} candidates "
            f"({tally.accepted / tally.candidates:.2%} accepted; rejected: {reasons})",
            where=f"jobs.{self.job.index}",
            hint="loosen rules or conditions, or raise accept.candidates_per_row",
        )

    def close(self) -> None:
        """Free what the judges hold."""
        for stream in self._streams.values():
            stream.judge.close()


def retried(shard: Shard) -> Shard:
    """The same shard, one attempt later."""
    return replace(shard, attempt=shard.attempt + 1)


def _first_gap(position: int, taken: list[tuple[int, int]]) -> tuple[int, int | None]:
    """The first free index from `position` on, and where the next taken range begins (None: nowhere)."""
    for start, stop in taken:
        if start > position:
            return position, start
        position = max(position, stop)
    return position, None
