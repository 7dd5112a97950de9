"""`synthmill sample --complete`: the rows of a file with their empty cells filled by a job's model. A given cell is never changed."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
from pydantic import BaseModel, ConfigDict

from synthmill import registry
from synthmill.columns import Column, Schema
from synthmill.completion import (
    MOST_ATTEMPTS,
    UNKNOWN_REASON,
    CompletionTask,
    FilledRows,
    OnUnknown,
    PartialRows,
    completing,
)
from synthmill.console import Reporter
from synthmill.engine import ShouldStop
from synthmill.errors import AcceptanceError, InputError, Interrupted
from synthmill.kits import make_kit
from synthmill.loose import Files
from synthmill.one_job import JobRequest, OneJob, open_job
from synthmill.row_files import check_cells, check_target, write_rows
from synthmill.sources.partial import Gaps, PartialFile, known_labels, open_partial, refuse_unknown, survey
from synthmill.store.workspace import Workspace

NUMBER = "_completion"  # the column that tells several completions apart
_PIECE_ROWS = 8_192
_FATE = {"keep": "those rows keep their gaps", "blank": "to the model that cell is empty"}


@dataclass(frozen=True, slots=True)
class CompleteRequest:
    """What was asked for: `file` filled `times` times over; `out` is None for stdout, and a dry run writes nothing."""

    job: JobRequest
    file: Path
    out: Path | None
    times: int = 1
    may_replace: bool = False
    is_dry: bool = False
    on_unknown: OnUnknown = "refuse"


class Completion(BaseModel):
    """What was written, or by a dry run would be; `unfilled` are rows by reason, of all completions together."""

    model_config = ConfigDict(frozen=True)

    rows: int  # of the file
    whole: int  # rows that lacked nothing
    times: int
    empty: dict[str, int]  # cells of the file's columns
    absent: tuple[str, ...]  # columns that the file lacks
    unknown: dict[str, int]  # rows that lack a cell and have a label that train never had, by its column
    filled: int  # cells
    unfilled: dict[str, int]
    path: str | None
    seconds: float

    @property
    def failure(self) -> AcceptanceError | None:
        """What to say, and to exit with, where cells stayed empty and nobody had asked for that."""
        unasked = {reason: count for reason, count in self.unfilled.items() if reason != UNKNOWN_REASON}
        if not unasked:
            return None
        reasons = ", ".join(f"{count:,} {reason}" for reason, count in sorted(unasked.items()))
        count, rows = sum(unasked.values()), self.rows * self.times
        hint = (
            "their given cells are written as they were; loosen rules or conditions, or raise accept.candidates_per_row"
        )
        return AcceptanceError(
            f"{count:,} of {rows:,} rows keep empty cells: {reasons}", where=self.path or "", hint=hint
        )


def complete(request: CompleteRequest, workspace: Workspace, reporter: Reporter, should_stop: ShouldStop) -> Completion:
    """Write all rows in order, whole or not at all; nothing else changes. What is wrong with the file is found before any work."""
    started = time.monotonic()
    check_target(request.out, may_replace=request.may_replace)
    job = open_job(request.job, None, workspace, reporter, should_stop)
    schema, tally = job.plan.schema_, _Tally()
    check_cells(request.out, schema)
    exact = _exact(job)
    file = open_partial(request.file, schema, exact | {column.name for column in schema if column.kind == "id"})
    known = known_labels(file.schema, job.jobs.real.parts.train)
    gaps = survey(file, known, schema)
    if request.on_unknown == "refuse":
        refuse_unknown(file, gaps)
    _say(file, gaps, schema, request.on_unknown, reporter)
    place = "" if request.out is None else f" in {request.out}"
    if request.is_dry:
        reporter.say(job.describe_model())
        cells = _open_cells(gaps, file, schema, request.on_unknown) * request.times
        reporter.say(f"complete: would fill {cells:,} cells{place}")
    else:
        task = replace(_task(job, job.files(), exact), known=known, on_unknown=request.on_unknown)
        with completing(task, should_stop) as fill:
            pieces = _pieces(request, file, gaps, fill, tally, reporter, should_stop)
            write_rows(request.out, pieces, _with_number(schema, request.times))
        reporter.say(f"complete: {tally.filled:,} cells filled{place}")
    return Completion(
        rows=gaps.rows,
        whole=gaps.whole,
        times=request.times,
        empty=dict(gaps.empty),
        absent=_absent(file, schema),
        unknown=dict(gaps.unknown.columns),
        filled=tally.filled,
        unfilled=_named(tally.unfilled, job.jobs.plan.recipe.rules),
        path=request.out and str(request.out),
        seconds=round(time.monotonic() - started, 2),
    )


@dataclass(slots=True)
class _Tally:
    """What was filled so far."""

    rows: int = 0
    filled: int = 0
    unfilled: Counter[str] = field(default_factory=Counter)

    def add(self, done: FilledRows) -> None:
        """Count one more piece."""
        self.rows += done.table.num_rows
        self.filled += done.filled
        self.unfilled.update(done.unfilled)


def _exact(job: OneJob) -> frozenset[str]:
    kind = registry.generator(job.plan.generator)
    return kind.exact_conditions(job.jobs.plan.source.schema_, kind.Params.parse(job.plan.params))


def _task(job: OneJob, files: Files, exact: frozenset[str]) -> CompletionTask:
    recipe, source, train = job.jobs.plan.recipe, job.jobs.plan.source.schema_, job.jobs.real.parts.train
    kit = make_kit(
        job.plan,
        files,
        source,
        train,
        rules=recipe.rules,
        reject_copies=recipe.accept.copies_of_train == "reject",
        device="cpu",
    )
    return CompletionTask(kit, exact, min(math.ceil(recipe.accept.candidates_per_row), MOST_ATTEMPTS))


def _pieces(
    request: CompleteRequest,
    file: PartialFile,
    gaps: Gaps,
    fill: Callable[[PartialRows], FilledRows],
    tally: _Tally,
    reporter: Reporter,
    should_stop: ShouldStop,
) -> Iterator[pa.Table]:
    """All rows once for each completion, some thousand at a time."""
    for completion in range(request.times):
        first = 0
        for piece in file.pieces():
            for start in range(0, piece.num_rows, _PIECE_ROWS):
                if should_stop():
                    raise Interrupted("stopped while writing", hint="nothing was written")
                places = np.arange(start, min(start + _PIECE_ROWS, piece.num_rows))
                done = fill(PartialRows(piece.take(places), first + start, completion))  # a slice would send it all
                tally.add(done)
                reporter.progress("complete", tally.rows, gaps.rows * request.times, _words(tally))
                yield _numbered(done.table, completion, request.times)
            first += piece.num_rows


def _words(tally: _Tally) -> str:
    lost = sum(tally.unfilled.values())
    return f"{tally.filled:,} cells filled" + (f", {lost:,} rows keep empty ones" if lost else "")


def _with_number(schema: Schema, times: int) -> Schema:
    """With a last column that tells completions apart, where there are several."""
    if times == 1:
        return schema
    if NUMBER in schema:
        raise InputError(f"the source has a column {NUMBER} itself", where="--times", hint="rename it in the source")
    number = Column(name=NUMBER, kind="integer", dtype="int64")
    return Schema(columns=(*schema.columns, number), target=schema.target)


def _numbered(table: pa.Table, completion: int, times: int) -> pa.Table:
    return table if times == 1 else table.append_column(NUMBER, pa.array(np.full(table.num_rows, completion)))


def _absent(file: PartialFile, schema: Schema) -> tuple[str, ...]:
    return tuple(name for name in schema.names if name not in file.schema)


def _open_cells(gaps: Gaps, file: PartialFile, schema: Schema, on_unknown: OnUnknown) -> int:
    absent, kept = len(_absent(file, schema)), gaps.unknown
    cells = sum(gaps.empty.values()) + gaps.rows * absent
    return cells - (kept.empty + kept.rows * absent if on_unknown == "keep" else 0)


def _say(file: PartialFile, gaps: Gaps, schema: Schema, on_unknown: OnUnknown, reporter: Reporter) -> None:
    """What there is to fill; counts and names, never a cell."""
    reporter.say(f"{file.path}: {gaps.rows:,} rows, {gaps.whole:,} of them without an empty cell")
    for name, count in gaps.empty.items():
        if count:
            reporter.say(f"  {name}: {count:,} empty cells")
    if absent := _absent(file, schema):
        reporter.say(f"  not in the file, filled in every row: {', '.join(absent)}")
    for name, count in gaps.unknown.columns.items():
        reporter.say(f"  {name}: a value that train never had in {count:,} rows that lack a cell; {_FATE[on_unknown]}")


def _named(unfilled: Mapping[str, int], rules: Sequence[str]) -> dict[str, int]:
    """Rules by their text instead of their number."""
    texts = {f"rule {number}": f"rule {text!r}" for number, text in enumerate(rules)}
    return {texts.get(reason, reason): count for reason, count in sorted(unfilled.items())}
