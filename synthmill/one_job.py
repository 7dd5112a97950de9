"""One job of a recipe outside of a run, as `sample` asks for it: under other conditions, with another number of rows or another seed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from synthmill import registry
from synthmill.columns import Column, Schema, Value
from synthmill.conditions import Condition
from synthmill.console import Reporter, duration
from synthmill.engine import ShouldStop
from synthmill.errors import InputError
from synthmill.fingerprint import fingerprint
from synthmill.loose import Files, LooseJobs, unmeasured
from synthmill.plan import JobPlan
from synthmill.recipe_file import load_recipe
from synthmill.resolve import naming_lines, read_real
from synthmill.spec import Job, Recipe
from synthmill.store.shared import open_shared
from synthmill.store.state import State
from synthmill.store.workspace import Workspace


@dataclass(frozen=True, slots=True)
class JobRequest:
    """Which job was asked for: `conditions` are COLUMN=VALUE, beside those of the recipe."""

    recipe: Path
    job: int = 0
    conditions: tuple[str, ...] = ()
    seed: int | None = None
    overrides: tuple[str, ...] = ()
    may_fit: bool = False


@dataclass(frozen=True, slots=True)
class OneJob:
    """The job as it was asked for, and what makes it."""

    request: JobRequest
    jobs: LooseJobs
    plan: JobPlan

    def files(self) -> Files:
        """The fitted model: found, or fitted for this once where that was allowed; InputError where it was not."""
        if (found := self.jobs.find(self.plan)) is not None:
            self.jobs.reporter.say(f"model of {self.plan.generator}: found")
            return found
        if not self.request.may_fit:
            raise self._unfitted()
        return self.jobs.fit(self.plan).files

    def describe_model(self) -> str:
        """What `files` would do, in words; InputError where it would raise one."""
        name = f"model of {self.plan.generator}"
        if self.jobs.find(self.plan) is not None:
            return f"{name}: found"
        if not self.request.may_fit:
            raise self._unfitted()
        kind = registry.generator(self.plan.generator)
        source = self.jobs.plan.source
        cost = kind.cost(source.schema_, source.train_rows, kind.Params.parse(self.plan.params))
        return f"{name}: to be fitted for this once" + ("" if cost is None else f", about {duration(cost.fit_s)}")

    def _unfitted(self) -> InputError:
        recipe = self.request.recipe
        hint = f"`synthmill run {recipe}` fits it and keeps it; --fit fits it for this sample alone"
        return InputError(f"the model of jobs.{self.plan.index} is not fitted", where=str(recipe), hint=hint)


def open_job(
    request: JobRequest, rows: int | None, workspace: Workspace, reporter: Reporter, should_stop: ShouldStop
) -> OneJob:
    """Read recipe and source and plan the job; nothing is written or fitted.

    It makes `rows` instead of its own, or completes rows that come from elsewhere: then nothing is balanced.
    """
    recipe = unmeasured(load_recipe(request.recipe, request.overrides))
    if request.job >= len(recipe.jobs):
        known = f"the recipe has {len(recipe.jobs)}, counted from 0"
        raise InputError(f"there is no job {request.job}", where=f"--job {request.job}", hint=known)
    with naming_lines(request.recipe):
        real = read_real(recipe, workspace)
        recipe = _with_job(recipe, request, rows, real.source.schema)
        plan = real.plan(recipe, workspace)
    if recipe.children:
        names = ", ".join(recipe.children)
        reporter.say(
            f"first table alone: no rows of {names} are written; `synthmill run {request.recipe}` makes those too"
        )
    shared = open_shared(workspace, reporter.say, should_stop)
    jobs = LooseJobs(plan, real, State(workspace.state), shared, reporter, should_stop)
    return OneJob(request, jobs, _reseeded(plan.jobs[request.job], request.seed))


def _with_job(recipe: Recipe, request: JobRequest, rows: int | None, schema: Schema) -> Recipe:
    """The recipe with the job's rows and conditions as they were asked for."""
    job = recipe.jobs[request.job]
    conditions = {**job.where, **_conditions(request.conditions, schema)}
    balance = None if rows is None or job.balance in conditions else job.balance
    jobs: list[Job] = [*recipe.jobs]
    jobs[request.job] = job.model_copy(update={"rows": rows or job.rows, "where": conditions, "balance": balance})
    return recipe.model_copy(update={"jobs": tuple(jobs)})


def _conditions(asked: Sequence[str], schema: Schema) -> Mapping[str, Condition]:
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


def _reseeded(job: JobPlan, seed: int | None) -> JobPlan:
    """The job on streams of its own; without a seed, on those of the dataset."""
    if seed is None:
        return job
    strata = [
        stratum.model_copy(update={"fingerprint": fingerprint("stratum", {"of": stratum.fingerprint, "seed": seed})})
        for stratum in job.strata
    ]
    return job.model_copy(update={"strata": tuple(strata)})
