"""`synthmill sample`: rows of one job from its fitted model to a file, as many as asked for and exactly those of the dataset.

The stream of a job is endless, and a dataset is its beginning. So is a sample: another number of rows changes none of them, conditions
and `--seed` start another stream.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
from pydantic import BaseModel, ConfigDict

from synthmill.columns import Schema
from synthmill.console import Reporter
from synthmill.engine import ShouldStop
from synthmill.errors import Interrupted
from synthmill.one_job import JobRequest, open_job
from synthmill.row_files import check_cells, check_target, write_rows
from synthmill.store.workspace import Workspace


@dataclass(frozen=True, slots=True)
class SampleRequest:
    """What was asked for; `out` is None for stdout, and a dry run writes nothing."""

    job: JobRequest
    rows: int
    out: Path | None
    may_replace: bool = False
    is_dry: bool = False


class Sample(BaseModel):
    """What was written, or by a dry run would be."""

    model_config = ConfigDict(frozen=True)

    rows: int
    path: str | None
    seconds: float

    @property
    def failure(self) -> None:
        """A sample comes whole or not at all."""


def sample(request: SampleRequest, workspace: Workspace, reporter: Reporter, should_stop: ShouldStop) -> Sample:
    """Write exactly `rows` accepted rows, whole or not at all. Nothing else changes, not even where a model is fitted for it."""
    started = time.monotonic()
    check_target(request.out, may_replace=request.may_replace)
    job = open_job(request.job, request.rows, workspace, reporter, should_stop)
    schema = job.plan.schema_
    check_cells(request.out, schema)
    place = "" if request.out is None else f" in {request.out}"
    if request.is_dry:
        reporter.say(job.describe_model())
        reporter.say(f"sample: would write {request.rows:,} rows{place}")
    else:
        files = job.files()
        reporter.say(_stream_words(request.job))
        with job.jobs.made(job.plan, files) as made:
            write_rows(request.out, _cells(made.read(), schema, should_stop), schema)
        reporter.say(f"sample: {request.rows:,} rows{place}")
    seconds = round(time.monotonic() - started, 2)
    return Sample(rows=request.rows, path=request.out and str(request.out), seconds=seconds)


def _stream_words(request: JobRequest) -> str:
    if request.seed is not None:
        return f"stream: of seed {request.seed}, no row of the dataset's stream"
    if request.conditions:
        return "stream: that of a job with these conditions"
    return f"stream: that of jobs.{request.job}, the same rows in the same order as in the dataset"


def _cells(pieces: Iterator[pa.Table], schema: Schema, should_stop: ShouldStop) -> Iterator[pa.Table]:
    """The rows without provenance."""
    for piece in pieces:
        if should_stop():
            raise Interrupted("stopped while writing", hint="nothing was written")
        yield piece.select(schema.names)
