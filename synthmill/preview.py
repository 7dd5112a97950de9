"""`synthmill preview`: a few rows of each job as a run would make them first, on the screen. Nothing is written."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa

from synthmill import registry
from synthmill.console import Reporter, duration
from synthmill.engine import ShouldStop
from synthmill.errors import AcceptanceError
from synthmill.loose import Files, LooseJobs, unmeasured
from synthmill.pixels import decode_image
from synthmill.plan import JobPlan
from synthmill.recipe_file import load_recipe
from synthmill.report.inputs import in_words
from synthmill.resolve import naming_lines, read_real
from synthmill.row_table import fitting, row_cells
from synthmill.store.state import State
from synthmill.store.workspace import Workspace

if TYPE_CHECKING:
    from rich.text import Text

MOST_STRATA = 6  # of a job; a balanced column may have thousands
_LONG_S = 10.0  # a fit that a person would rather not wait for


@dataclass(frozen=True, slots=True)
class JobPreview:
    """The first rows of a job, a table for each stratum shown and `rejects` by reason, or `failure` says why there are none."""

    job: JobPlan
    conditions: str  # in words
    strata: tuple[pa.Table, ...] = ()
    rejects: Mapping[str, int] = field(default_factory=dict)
    failure: AcceptanceError | None = None


def preview(
    path: Path,
    overrides: Sequence[str],
    rows: int,
    workspace: Workspace,
    reporter: Reporter,
    should_stop: ShouldStop,
) -> Iterator[JobPreview]:
    """`rows` rows of each stratum, job after job. Models that state does not hold are fitted, and forgotten afterwards."""
    recipe = unmeasured(load_recipe(path, overrides))
    with naming_lines(path):
        real = read_real(recipe, workspace)
        plan = real.plan(recipe, workspace)
    jobs = LooseJobs(plan, real, State(workspace.state), reporter, should_stop)
    models: dict[str, Files] = {}
    for job in plan.jobs:
        if job.model not in models:
            models[job.model] = _model(jobs, job)
        yield _preview(jobs, job, models[job.model], rows)


def _model(jobs: LooseJobs, job: JobPlan) -> Files:
    if (found := jobs.find(job)) is not None:
        jobs.reporter.say(f"model of {job.generator}: found")
        return found
    kind = registry.generator(job.generator)
    cost = kind.cost(jobs.plan.source.schema_, jobs.plan.source.train_rows, kind.Params.parse(job.params))
    about = "" if cost is None else f", about {duration(cost.fit_s)}"
    jobs.reporter.say(f"model of {job.generator}: not fitted yet; fitting it for this preview alone{about}")
    if "steps" in kind.Params.model_fields and (cost is None or cost.fit_s > _LONG_S):
        jobs.reporter.say(f"  a rough look is quicker: --set jobs.{job.index}.params.steps=100")
    return jobs.fit(job).files


def _preview(jobs: LooseJobs, job: JobPlan, files: Files, rows: int) -> JobPreview:
    strata = tuple(s.model_copy(update={"rows": rows}) for s in job.strata[:MOST_STRATA])
    small = job.model_copy(update={"strata": strata, "rows": rows * len(strata)})
    recipe = jobs.plan.recipe
    conditions = in_words(recipe.jobs[job.index])
    try:
        with jobs.made(small, files) as made:
            whole = pa.concat_tables(list(made.read()))  # row r belongs to stratum r mod k
            tables = [whole.take(list(range(place, whole.num_rows, len(strata)))) for place in range(len(strata))]
            rules = {f"rule {number}": f"rule {text!r}" for number, text in enumerate(recipe.rules)}
            rejects = {rules.get(reason, reason): count for reason, count in made.rejects.items()}
            return JobPreview(job, conditions, tuple(tables), rejects)
    except AcceptanceError as error:  # another job may do better
        return JobPreview(job, conditions, failure=error)


def preview_lines(found: JobPreview, width: int, *, in_colour: bool) -> Iterator[str | Text]:
    """The job on a screen of `width` characters; images also as blocks of colour where the terminal has colours."""
    job = found.job
    yield ", ".join(filter(None, [f"jobs.{job.index}: {job.generator}", f"{job.rows:,} rows", found.conditions]))
    if found.failure is not None:
        yield f"  no preview: {found.failure.what}\n"
        return
    rows = [row_cells(row, job.schema_) for table in found.strata for row in table.to_pylist()]
    yield from (f"  {line}" for line in fitting(job.schema_.names, rows, width - 2))
    if in_colour:
        yield from _pictures(found, width)
    if len(job.strata) > len(found.strata):
        yield f"  and {len(job.strata) - len(found.strata):,} strata more"
    yield f"  {_acceptance(found)}\n"


def _pictures(found: JobPreview, width: int) -> Iterator[Text]:
    """A line of pictures for each stratum, in the order of the table."""
    from synthmill.pictures import half_blocks

    for column in found.job.schema_:
        if column.kind == "image":
            for rows in found.strata:
                yield half_blocks([decode_image(cell["bytes"]) for cell in rows[column.name].to_pylist()], width)


def _acceptance(found: JobPreview) -> str:
    rows, rejected = sum(table.num_rows for table in found.strata), sum(found.rejects.values())
    reasons = ", ".join(f"{count:,} {reason}" for reason, count in sorted(found.rejects.items()))
    return f"{rows:,} of {rows + rejected:,} candidates accepted" + (f"; rejected: {reasons}" if reasons else "")
