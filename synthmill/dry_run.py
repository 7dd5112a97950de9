"""`run --dry-run`: the resolved recipe, the plan, what would be reused, and what it would cost. Nothing is written."""

from __future__ import annotations

import json
from dataclasses import dataclass
from io import StringIO

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import JsonValue
from ruamel.yaml import YAML

from synthmill import registry
from synthmill.candidates import Candidate
from synthmill.child_plan import JobSlots, with_slots
from synthmill.conditions import meeting
from synthmill.console import PlainReporter, duration, size
from synthmill.generator import Cost
from synthmill.plan import JobPlan, ModelPlan, Plan
from synthmill.run import Run
from synthmill.run_request import RunRequest
from synthmill.sources.children import count_column
from synthmill.store.finds import Finds, find
from synthmill.store.release_steps import releases
from synthmill.store.shared import Shared, open_shared
from synthmill.store.staging import Receipt, read_receipts
from synthmill.store.state import State
from synthmill.store.workspace import Workspace
from synthmill.words import source_lines

_BYTES_A_CELL = {
    "double": 8.0,
    "int64": 4.0,
    "bool": 0.2,
    "string": 4.0,
    "date32": 3.0,
    "timestamp": 8.0,
    "time64": 6.0,
}
_BYTES_AN_IMAGE = 2_000.0
_PROVENANCE_BYTES = 40.0


@dataclass(frozen=True, slots=True)
class Estimate:
    """Seconds of one worker; None where the generator gives no guess and has never run in this state."""

    fit_s: float | None
    generate_s: float | None
    disk_bytes: float


def describe_run(request: RunRequest, workspace: Workspace, *, as_json: bool) -> str:
    """The text, or the JSON object, of a dry run."""
    run = Run(request, workspace, PlainReporter(), lambda: False)
    plan, real = run.resolve()
    shared = open_shared(workspace, run.reporter.say, is_dry=True)
    children = asked_children(plan, real.parts.train, run.state)
    finds = find((plan, *children), run.state, shared)
    reuse = _reuse(plan, run.state, workspace, shared, finds)
    costs = {child.recipe.dataset: estimate(child, run.state, finds) for child in children}
    cost = _together([estimate(plan, run.state, finds), *costs.values()])
    if as_json:
        rows = {child.recipe.dataset: child.rows for child in children}
        apart = {name: {"rows": rows[name], **_fields(own)} for name, own in costs.items()}
        fields = {**_fields(cost), "children": apart}
        return json.dumps({"plan": plan.model_dump(mode="json"), "reuse": reuse, "estimate": fields})
    jobs = [*map(_job_line, plan.jobs), *(line for child in children for line in _child_lines(child, plan))]
    return "\n".join(
        [
            "# the recipe, every default filled in",
            _yaml(plan.recipe.model_dump(mode="json", by_alias=True, exclude_none=True)),
            f"plan {plan.fingerprint}",
            *(line for own, source in real.tables(plan) for line in source_lines(own, source)),
            *jobs,
            "reuse",
            *(f"  {line}" for line in reuse),
            f"cost on one core: {_words(cost)}",
            *(f"  of that {name}: {_words(own)}" for name, own in costs.items()),
        ]
    )


def _job_line(job: JobPlan) -> str:
    strata = f"{len(job.strata):,} strata" if len(job.strata) > 1 else job.strata[0].label.partition(":")[2]
    return f"  jobs.{job.index}: {job.generator}, {job.rows:,} rows, {strata}, model {job.model[:12]}"


def _child_lines(child: Plan, parent: Plan) -> list[str]:
    """A line for each job of the first table: what it asks of the child."""
    name = child.recipe.dataset
    return [
        f"  children.{name}: {job.generator}, about {job.rows:,} rows for jobs.{job.index}, "
        f"{job.rows / of.rows:.2g} a row, model {job.model[:12]}"
        for job, of in zip(child.jobs, parent.jobs, strict=True)
    ]


def _words(cost: Estimate) -> str:
    known = [
        f"{name} {'unknown until its first run' if s is None else 'about ' + duration(s)}"
        for name, s in (("fit", cost.fit_s), ("generate", cost.generate_s))
    ]
    return f"{', '.join(known)}; disk about {size(cost.disk_bytes)}"


def _fields(cost: Estimate) -> dict[str, float | None]:
    return {"fit_s": cost.fit_s, "generate_s": cost.generate_s, "disk_bytes": round(cost.disk_bytes)}


def _reuse(plan: Plan, state: State, workspace: Workspace, shared: Shared, finds: Finds) -> list[str]:
    """What a run would find, a line each."""
    last = next(reversed(releases(workspace, plan.recipe.dataset)), None)
    if last and last.identity and last.identity.plan == plan.fingerprint:
        return [f"released already as {last.tag}"]
    candidate, there = Candidate(plan, state), f" in {workspace.settings.uri}"
    if candidate.is_complete:
        return ["the complete candidate"]
    if shared.has(candidate.root):
        return [f"the complete candidate{there}"]
    lines = []
    for model in (*plan.models, *(model for child in plan.children for model in child.models)):
        if model.trains:
            found = "found" if model.fingerprint in finds.models else "to fit"
            where = there if model.fingerprint in finds.elsewhere else ""
            lines.append(f"model of {model.generator}: {found}{where}")
    for job in plan.jobs:
        where = f", some of them{there}" if any(s.staging in finds.elsewhere for s in job.strata) else ""
        lines.append(f"jobs.{job.index}: {min(finds.rows(job), job.rows):,} of {job.rows:,} rows staged{where}")
    return lines


def asked_children(plan: Plan, train: pa.Table, state: State) -> tuple[Plan, ...]:
    """The plans of the child tables with their rows: those that the assembled first table asks for, else as many as its train rows have."""
    candidate = Candidate(plan, state)
    if all(candidate.slots(child).is_dir() for child in plan.children):
        return tuple(child.plan for child in candidate.children)
    return tuple(_expected(child, plan, train) for child in plan.children)


def _expected(child: Plan, plan: Plan, train: pa.Table) -> Plan:
    """As many rows for each row of a stratum as the train rows have that meet its conditions."""
    counts = train[count_column(child.recipe.dataset)]
    columns = {column.name: column for column in plan.source.schema_}
    slots = []
    for job in plan.jobs:
        means = [pc.mean(counts.filter(meeting(train, stratum.where, columns))).as_py() for stratum in job.strata]
        rows = sum(stratum.rows * mean for stratum, mean in zip(job.strata, means, strict=True))
        slots.append(JobSlots(round(rows), sha256="", families={}))
    return with_slots(child, plan, slots)


def _together(costs: list[Estimate]) -> Estimate:
    fits, makes = [cost.fit_s for cost in costs], [cost.generate_s for cost in costs]
    return Estimate(_total(fits), _total(makes), sum(cost.disk_bytes for cost in costs))


def estimate(plan: Plan, state: State, finds: Finds) -> Estimate:
    """From the receipts of earlier fits and shards of the same generators in this state; else the generators' own guess."""
    fits = [_fit_seconds(model, plan, finds) for model in plan.models if model.trains]
    makes = [_generate_seconds(job, plan, state, finds) for job in plan.jobs]
    row = sum(_BYTES_A_CELL.get(column.dtype, _BYTES_AN_IMAGE) for column in plan.released) + _PROVENANCE_BYTES
    copies = 3  # staged shards, the candidate, the release
    return Estimate(_total(fits), _total(makes), plan.rows * row * copies)


def _total(seconds: list[float | None]) -> float | None:
    known = [s for s in seconds if s is not None]
    return sum(known) if len(known) == len(seconds) else None


def _fit_seconds(model: ModelPlan, plan: Plan, finds: Finds) -> float | None:
    if model.fingerprint in finds.models:
        return 0.0
    cost = _declared(model.generator, model.params, plan)
    return None if cost is None else cost.fit_s


def _generate_seconds(job: JobPlan, plan: Plan, state: State, finds: Finds) -> float | None:
    missing = sum(max(0, s.rows - sum(r.rows for r in finds.staged[s.staging])) for s in job.strata)
    own = {receipt.fingerprint for receipt in finds.models.values() if receipt.generator == job.generator}
    if missing == 0:
        return 0.0
    if seen := [r for r in _shards(state) if r.model in own and r.rows]:
        return missing * sum(r.seconds for r in seen) / sum(r.rows for r in seen)
    cost = _declared(job.generator, job.params, plan)
    return None if cost is None else missing / cost.rows_per_s


def _declared(key: str, params: dict[str, JsonValue], plan: Plan) -> Cost | None:
    kind = registry.generator(key)
    return kind.cost(plan.source.schema_, plan.source.train_rows, kind.Params.parse(params))


def _shards(state: State) -> list[Receipt]:
    folders = sorted(state.shards.glob("*"))[:100]  # enough to know a speed by
    return [receipt for folder in folders for receipt in read_receipts(folder)[:3]]


def _yaml(content: object) -> str:
    text, yaml = StringIO(), YAML()
    yaml.default_flow_style = False
    yaml.dump(content, text)
    return text.getvalue()
