"""`synthmill sample`: rows of one job from its fitted model to a file, as many as asked for and exactly those of the dataset.

The stream of a job is endless, and a dataset is its beginning. So is a sample: another number of rows changes none of them, conditions
and `--seed` start another stream.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from synthmill.columns import Column, Schema
from synthmill.conditions import Condition, Value
from synthmill.console import Reporter
from synthmill.engine import ShouldStop
from synthmill.errors import InputError, Interrupted
from synthmill.fingerprint import fingerprint
from synthmill.loose import Files, LooseJobs, unmeasured
from synthmill.plan import JobPlan
from synthmill.recipe_file import load_recipe
from synthmill.resolve import naming_lines, read_real
from synthmill.row_files import check_cells, check_target, write_rows
from synthmill.spec import Job, Recipe
from synthmill.store.state import State
from synthmill.store.workspace import Workspace


@dataclass(frozen=True, slots=True)
class SampleRequest:
    """What was asked for: `conditions` are COLUMN=VALUE, and `out` is None for stdout."""

    recipe: Path
    rows: int
    out: Path | None
    job: int = 0
    conditions: tuple[str, ...] = ()
    seed: int | None = None
    overrides: tuple[str, ...] = ()
    may_fit: bool = False
    may_replace: bool = False


def sample(request: SampleRequest, workspace: Workspace, reporter: Reporter, should_stop: ShouldStop) -> None:
    """Write exactly `rows` accepted rows, whole or not at all. Nothing else changes, not even where `may_fit` fits a model."""
    check_target(request.out, may_replace=request.may_replace)
    recipe = unmeasured(load_recipe(request.recipe, request.overrides))
    if request.job >= len(recipe.jobs):
        known = f"the recipe has {len(recipe.jobs)}, counted from 0"
        raise InputError(f"there is no job {request.job}", where=f"--job {request.job}", hint=known)
    with naming_lines(request.recipe):
        real = read_real(recipe, workspace)
        recipe = _with_job(recipe, request, real.source.schema)
        plan = real.plan(recipe, workspace)
    jobs = LooseJobs(plan, real, State(workspace.state), reporter, should_stop)
    job = plan.jobs[request.job]
    check_cells(request.out, job.schema_)
    files = _model(jobs, job, request)
    reporter.say(_stream_words(request))
    with jobs.made(_reseeded(job, request.seed), files) as made:
        write_rows(request.out, _cells(made.read(), job.schema_, should_stop), job.schema_)
    reporter.say(f"sample: {request.rows:,} rows{'' if request.out is None else f' in {request.out}'}")


def _with_job(recipe: Recipe, request: SampleRequest, schema: Schema) -> Recipe:
    """The recipe with the job's rows and conditions as they were asked for."""
    job = recipe.jobs[request.job]
    conditions = {**job.where, **_conditions(request.conditions, schema)}
    balance = None if job.balance in conditions else job.balance
    jobs: list[Job] = [*recipe.jobs]
    jobs[request.job] = job.model_copy(update={"rows": request.rows, "where": conditions, "balance": balance})
    return recipe.model_copy(update={"jobs": tuple(jobs)})


def _conditions(asked: Sequence[str], schema: Schema) -> dict[str, Condition]:
    found = {}
    for text in asked:
        name, equals, value = text.partition("=")
        where = f"--where {text}"
        if not equals or not name:
            raise InputError("a condition is COLUMN=VALUE", where=where, hint="for example --where city=Oslo")
        if name not in schema:
            hint = f"columns: {', '.join(schema.names)}"
            raise InputError(f"the source has no column {name}", where=where, hint=hint)
        found[name] = Condition.model_validate({"is": _typed(value, schema[name], where)})
    return found


def _typed(text: str, column: Column, where: str) -> Value:
    """The value as a recipe would hold it: a number for a column of numbers, else text."""
    words: dict[str, Value] = {"true": True, "false": False}
    try:
        match column.dtype:
            case "bool":
                return words[text.lower()]
            case "int64":
                return int(text)
            case "double":
                return float(text)
            case _:
                return text
    except (KeyError, ValueError):
        hint = "give a value of the column's type"
        raise InputError(f"column {column.name} holds {column.dtype}", where=where, hint=hint) from None


def _model(jobs: LooseJobs, job: JobPlan, request: SampleRequest) -> Files:
    if (found := jobs.find(job)) is not None:
        jobs.reporter.say(f"model of {job.generator}: found")
        return found
    if not request.may_fit:
        hint = f"`synthmill run {request.recipe}` fits it and keeps it; --fit fits it for this sample alone"
        raise InputError(f"the model of jobs.{job.index} is not fitted", where=str(request.recipe), hint=hint)
    return jobs.fit(job).files


def _reseeded(job: JobPlan, seed: int | None) -> JobPlan:
    """The job on streams of its own; without a seed, on those of the dataset."""
    if seed is None:
        return job
    strata = [
        stratum.model_copy(update={"fingerprint": fingerprint("stratum", {"of": stratum.fingerprint, "seed": seed})})
        for stratum in job.strata
    ]
    return job.model_copy(update={"strata": tuple(strata)})


def _stream_words(request: SampleRequest) -> str:
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
