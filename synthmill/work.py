"""The work itself, as plain functions: fit a model, make a shard. No Ray, no Prefect, no state folder.

What goes in and out crosses processes and machines, so it is plain values and bytes. Both engines call these, each in a process
of its own, and get the same bytes.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from synthmill import registry
from synthmill.columns import Schema
from synthmill.filters import Filters
from synthmill.generator import (
    NO_CHECKPOINT,
    Checkpoint,
    FitProgress,
    FitReport,
    Generator,
    Sampled,
    SampleRequest,
    TrainData,
)
from synthmill.kits import Kit, StratumKit, draw_given
from synthmill.plan import ModelPlan
from synthmill.seeds import derive
from synthmill.store.staging import STAGING_FIELDS, Level, shard_bytes, write_shard


@dataclass(frozen=True, slots=True)
class FitTask:
    """Everything a fit needs."""

    model: ModelPlan
    schema: Schema
    seed: int
    device: str
    checkpoint: Checkpoint = NO_CHECKPOINT  # from which the fit goes on
    before: Mapping[str, bytes] | None = None  # the files of the model that a warm start goes on from
    secret: bytes | None = field(default=None, repr=False)  # what the noise of a private model comes from


@dataclass(frozen=True, slots=True)
class FittedModel:
    """A model as files (relative path -> bytes), and how it came about."""

    files: Mapping[str, bytes]
    report: FitReport
    seconds: float

    def level(self, device: str) -> Level:
        """Whether the plan alone makes it again to the bit: not by a clock, nor by a secret, nor on a GPU."""
        is_told = self.report.stopped_by != "time" and self.report.privacy is None
        return "bitwise" if device == "cpu" and is_told else "statistical"


@dataclass(frozen=True, slots=True)
class Shard:
    """A range of candidates of one stratum: the unit of work and retry."""

    job: int
    place: int  # of the stratum in its job
    stratum: str
    start: int
    stop: int
    attempt: int = 1
    given: pa.Table | None = field(
        default=None, compare=False
    )  # of slots: a row for each candidate of its micro-batches

    def __str__(self) -> str:
        return f"shard {self.job}.{self.place} [{self.start:,}, {self.stop:,})"


@dataclass(frozen=True, slots=True)
class StagedShard:
    """A finished shard: its Parquet bytes, or the content hash under which the actor stored them itself."""

    data: bytes
    file: str
    rows: int
    rejects: Mapping[str, int]
    seconds: float
    level: Level = "bitwise"
    usage: Mapping[str, float] = field(default_factory=dict)


def fit_model(task: FitTask, train: pa.Table, progress: FitProgress) -> FittedModel:
    """Fit one model on the train rows."""
    kind = registry.generator(task.model.generator)
    _set_threads(kind)
    started = time.monotonic()
    generator = kind(kind.Params.parse(task.model.params))
    with TemporaryDirectory(prefix="synthmill-fit-") as name:
        before, folder = Path(name) / "before", Path(name) / "fitted"
        _write_files(task.before or {}, before)
        report = generator.fit(
            TrainData(train, task.schema, before=None if task.before is None else before, secret=task.secret),
            seed=derive(task.seed, "fit"),
            device=task.device,
            progress=progress,
            checkpoint=task.checkpoint,
        )
        folder.mkdir()
        generator.save(folder)
        files = {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}
    return FittedModel(files, report, time.monotonic() - started)


def _write_files(files: Mapping[str, bytes], folder: Path) -> None:
    for path, data in files.items():
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)


class Sampler:
    """A loaded generator and the job's `filters`; makes any shard of the job."""

    def __init__(self, kit: Kit) -> None:
        kind = registry.generator(kit.job.generator)
        _set_threads(kind)
        self._kit = kit
        self.filters = Filters(
            kit.rules, kit.source, kit.train_hashes, reject_copies=kit.reject_copies, context=kit.context
        )
        params = kind.Params.parse(kit.job.params)
        with TemporaryDirectory(prefix="synthmill-model-") as name:
            _write_files(kit.files, Path(name))
            self._generator: Generator = kind.load(Path(name), params, device=kit.device)

    def make(self, shard: Shard) -> StagedShard:
        """Make and filter every candidate of the shard; the same shard gives the same bytes."""
        started = time.monotonic()
        stratum = self._kit.strata[shard.place]
        firsts, usage = range(shard.start, shard.stop, self._kit.job.micro_batch), Counter[str]()
        if shard.given is None:
            sampled = [self._sample(stratum, first) for first in firsts]
            table = self._judged(stratum, range(shard.start, shard.stop), sampled)
            for batch in sampled:
                usage.update(batch.usage)
        else:
            table = pa.concat_tables(self._filled(stratum, shard, first, usage) for first in firsts)
        reasons = {
            e["values"]: e["counts"] for e in pc.value_counts(table["_reject"]).to_pylist() if e["values"] is not None
        }
        rows = table["_reject"].null_count
        return StagedShard(
            shard_bytes(table), "", rows, reasons, time.monotonic() - started, _level(self._kit.device), usage
        )

    def stage(self, shard: Shard, staging: Path) -> StagedShard:
        """Make a shard and store it under the state's folder of all strata, so that its hash travels and not its bytes."""
        made = self.make(shard)
        file = write_shard(staging / self._kit.strata[shard.place].staging, made.data)
        return replace(made, data=b"", file=file)

    def _sample(self, stratum: StratumKit, first: int) -> Sampled:
        """One micro-batch, always whole, so that its size never changes a byte."""
        candidates = np.arange(first, first + self._kit.job.micro_batch, dtype=np.int64)
        key = derive(stratum.fingerprint, "noise")
        given = draw_given(stratum, candidates, key)
        mask = np.ones((len(candidates), given.num_columns), dtype=np.bool_)
        return self.ask(SampleRequest(candidates, key, given, mask))

    def _filled(self, stratum: StratumKit, shard: Shard, first: int, usage: Counter[str]) -> pa.Table:
        """One micro-batch of slots, each with the first of its attempts that is accepted.

        An attempt is made at all of its slots, at the same places, so that no row depends on which others were accepted before.
        """
        assert shard.given is not None, "slots are given"
        size = self._kit.job.micro_batch
        slots = np.arange(first, first + size, dtype=np.int64)
        given = shard.given.slice(first - shard.start, size)
        mask = np.ones((size, given.num_columns), dtype=np.bool_)
        asked, filled = range(first, min(first + size, shard.stop)), None
        for attempt in range(self._kit.attempts):
            key = derive(stratum.fingerprint, "noise", *([attempt] if attempt else []))
            sampled = self.ask(SampleRequest(slots, key, given, mask))
            usage.update({**sampled.usage, "attempts": len(asked)})
            judged = self._judged(stratum, asked, [sampled])
            filled = judged if filled is None else _first_accepted(filled, judged)
            if filled["_reject"].null_count == len(asked):
                break
        assert filled is not None, "there is one attempt at least"
        return filled

    def ask(self, request: SampleRequest) -> Sampled:
        """The generator's own answer, before any filter."""
        return self._generator.sample(request)

    def _judged(self, stratum: StratumKit, candidates: range, sampled: Sequence[Sampled]) -> pa.Table:
        """One row per candidate asked for, in order: cells where accepted, the reason where not."""
        table = pa.concat_tables([batch.table.cast(self._kit.job.schema_.arrow) for batch in sampled])
        made = np.concatenate([batch.candidates for batch in sampled])
        judged = self.filters.judge(table, stratum.where)
        staged = table.append_column("_candidate", pa.array(made))
        found = pa.array(judged.reject, pa.string()), pa.array(judged.copy), judged.hashes
        for column, values in zip(STAGING_FIELDS[1:], found, strict=True):
            staged = staged.append_column(column, values)
        lost = {candidate: reason for batch in sampled for candidate, reason in batch.rejects.items()}
        asked = np.asarray(candidates, dtype=np.int64)
        ordered = _with_lost(staged.take(np.argsort(made, kind="stable")), asked, lost)
        return _blank_rejects(ordered.slice(0, len(asked)))


def _first_accepted(before: pa.Table, now: pa.Table) -> pa.Table:
    """Row for row what was accepted before, else what came of the next attempt."""
    is_taken = before["_reject"].is_null().to_numpy()
    rows = np.arange(len(is_taken)) + np.where(is_taken, 0, len(is_taken))
    return pa.concat_tables([before, now]).take(pa.array(rows))


def _with_lost(staged: pa.Table, candidates: NDArray[np.int64], rejects: Mapping[int, str]) -> pa.Table:
    """Add a row for every candidate that the generator itself gave up, so that each number is there once."""
    missing = np.setdiff1d(candidates, staged["_candidate"].to_numpy())
    if len(missing) == 0:
        return staged
    columns = {field.name: pa.nulls(len(missing), field.type) for field in staged.schema}
    columns["_candidate"] = pa.array(missing)
    columns["_reject"] = pa.array([rejects.get(int(c), "not made") for c in missing], pa.string())
    columns["_copy"] = pa.array(np.zeros(len(missing), dtype=np.bool_))
    return pa.concat_tables([staged, pa.table(columns, schema=staged.schema)]).sort_by("_candidate")


def _blank_rejects(staged: pa.Table) -> pa.Table:
    """Rejected candidates keep their number and reason alone."""
    kept = staged["_reject"].is_null()
    own = {field.name for field in STAGING_FIELDS} - {"_hash"}
    columns = [
        c if n in own else pc.if_else(kept, c, pa.scalar(None, c.type))
        for n, c in zip(staged.column_names, staged.columns, strict=True)
    ]
    return pa.table(columns, schema=staged.schema)


def _level(device: str) -> Level:
    return "bitwise" if device == "cpu" else "statistical"


def _set_threads(kind: type[Generator]) -> None:
    import torch

    torch.set_num_threads(kind.threads)
