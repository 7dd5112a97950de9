"""`synthmill preview`: a few rows of each job as a run would make them first, and their children, on the screen. Nothing is written."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa

from synthmill import registry
from synthmill.columns import Schema
from synthmill.console import Reporter, duration
from synthmill.engine import ShouldStop
from synthmill.errors import AcceptanceError
from synthmill.loose import Files, LooseJobs, unmeasured
from synthmill.loose_children import first_children
from synthmill.pixels import decode_image
from synthmill.plan import JobPlan, Plan
from synthmill.recipe_file import load_recipe
from synthmill.report.inputs import in_words
from synthmill.resolve import Real, naming_lines, read_real
from synthmill.row_table import fitting, row_cells
from synthmill.store.shared import open_shared
from synthmill.store.state import State
from synthmill.store.workspace import Workspace
from synthmill.words import of_child

if TYPE_CHECKING:
    from rich.text import Text

MOST_STRATA = 6  # of a job; a balanced column may have thousands
_MOST_CHILDREN = 4  # shown for each row that is
_LONG_S = 10.0  # a fit that a person would rather not wait for


@dataclass(frozen=True, slots=True)
class JobPreview:
    """The first rows of a job, a table for each stratum shown, or of a child table for those; `failure` says why there are none."""

    title: str
    schema: Schema
    strata: tuple[pa.Table, ...] = ()
    notes: tuple[str, ...] = ()  # below the rows
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
    state, models = State(workspace.state), dict[str, Files]()
    shared = open_shared(workspace, reporter.say, should_stop)

    def fitted(jobs: LooseJobs, job: JobPlan, key: str) -> Files:
        if job.model not in models:
            models[job.model] = _model(jobs, job, key)
        return models[job.model]

    jobs = LooseJobs(plan, real, state, shared, reporter, should_stop)
    children = [
        LooseJobs(own, Real(child.source, child.parts), state, shared, reporter, should_stop)
        for own, child in zip(plan.children, real.children, strict=True)
    ]
    for job in plan.jobs:
        small = _first(job, rows)
        found, made = _preview(jobs, small, job, fitted(jobs, job, f"jobs.{job.index}"))
        yield found
        for child in children if made is not None else ():
            [own], key = child.plan.jobs, f"children.{child.plan.recipe.dataset}"
            parents = plan.model_copy(update={"jobs": (small,)})
            yield _preview_children(child, fitted(child, own, key), parents, made)


def _model(jobs: LooseJobs, job: JobPlan, key: str) -> Files:
    name = f"model of {of_child(jobs.plan)}{job.generator}"
    if (found := jobs.find(job)) is not None:
        jobs.reporter.say(f"{name}: found")
        return found
    kind = registry.generator(job.generator)
    cost = kind.cost(jobs.plan.source.schema_, jobs.plan.source.train_rows, kind.Params.parse(job.params))
    about = "" if cost is None else f", about {duration(cost.fit_s)}"
    jobs.reporter.say(f"{name}: not fitted yet; fitting it for this preview alone{about}")
    if "steps" in kind.Params.model_fields and (cost is None or cost.fit_s > _LONG_S):
        jobs.reporter.say(f"  a rough look is quicker: --set {key}.params.steps=100")
    return jobs.fit(job).files


def _first(job: JobPlan, rows: int) -> JobPlan:
    """The job with so many rows in each of its first strata, and in no other."""
    strata = tuple(s.model_copy(update={"rows": rows}) for s in job.strata[:MOST_STRATA])
    return job.model_copy(update={"strata": strata, "rows": rows * len(strata)})


def _preview(jobs: LooseJobs, small: JobPlan, job: JobPlan, files: Files) -> tuple[JobPreview, pa.Table | None]:
    """Beside it the rows with provenance, where there are any."""
    recipe = jobs.plan.recipe
    conditions = in_words(recipe.jobs[job.index])
    title = ", ".join(filter(None, [f"jobs.{job.index}: {job.generator}", f"{job.rows:,} rows", conditions]))
    try:
        with jobs.made(small, files) as made:
            whole = pa.concat_tables(made.read())
            rejects = made.rejects
    except AcceptanceError as error:  # another job may do better
        return JobPreview(title, job.schema_, failure=error), None
    count = len(small.strata)  # row r belongs to stratum r mod k
    tables = tuple(whole.take(list(range(place, whole.num_rows, count))) for place in range(count))
    rules = {f"rule {number}": f"rule {text!r}" for number, text in enumerate(recipe.rules)}
    named = {rules.get(reason, reason): count for reason, count in rejects.items()}
    more = [f"and {len(job.strata) - count:,} strata more"] if len(job.strata) > count else []
    return JobPreview(title, job.schema_, tables, (*more, _acceptance(whole.num_rows, named))), whole


def _preview_children(child: LooseJobs, files: Files, plan: Plan, parents: pa.Table) -> JobPreview:
    """All that belong to the rows shown above, unless those are many."""
    [job], name = child.plan.jobs, child.plan.recipe.dataset
    title = f"children.{name}: {job.generator}, for the rows above"
    try:
        found = first_children(child, files, plan, parents, _MOST_CHILDREN * parents.num_rows)
    except AcceptanceError as error:
        return JobPreview(title, child.plan.released, failure=error)
    if not found.of:
        return JobPreview(title, child.plan.released, notes=(f"none of those rows has rows of {name}",))
    shown = "all" if found.rows.num_rows == found.of else f"{found.rows.num_rows:,} of"
    notes = (f"{shown} {found.of:,} rows of {name} that belong to them",)
    return JobPreview(title, child.plan.released, (found.rows,), notes)


def preview_lines(found: JobPreview, width: int, *, in_colour: bool) -> Iterator[str | Text]:
    """The job on a screen of `width` characters; images also as blocks of colour where the terminal has colours."""
    yield found.title
    if found.failure is not None:
        yield f"  no preview: {found.failure.what}\n"
        return
    rows = [row_cells(row, found.schema) for table in found.strata for row in table.to_pylist()]
    if rows:
        yield from (f"  {line}" for line in fitting(found.schema.names, rows, width - 2))
    if in_colour:
        yield from _pictures(found, width)
    yield from (f"  {note}" for note in found.notes)
    yield ""


def _pictures(found: JobPreview, width: int) -> Iterator[Text]:
    """A line of pictures for each stratum, in the order of the table."""
    from synthmill.pictures import half_blocks

    for column in found.schema:
        if column.kind == "image":
            for rows in found.strata:
                yield half_blocks([decode_image(cell["bytes"]) for cell in rows[column.name].to_pylist()], width)


def _acceptance(rows: int, rejects: Mapping[str, int]) -> str:
    reasons = ", ".join(f"{count:,} {reason}" for reason, count in sorted(rejects.items()))
    made = rows + sum(rejects.values())
    return f"{rows:,} of {made:,} candidates accepted" + (f"; rejected: {reasons}" if reasons else "")
