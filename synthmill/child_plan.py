"""The plan of a child table: resolved like any other against its joined rows, and given its rows once the first table's are known.

A slot is one row to make, for one row of the first table at one place among its siblings. Slots are numbered within a job of the
first table, in the order of its rows: more rows there add slots behind those that exist, so no child that exists changes. The candidate
of slot s is a function of (stratum fingerprint, s, attempt) and of the cells given.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from synthmill import registry
from synthmill.columns import Column, Schema
from synthmill.errors import RecipeError, SourceError
from synthmill.fingerprint import fingerprint
from synthmill.plan import Belonging, FamilyShare, JobPlan, Plan, StratumPlan, make_plan, resolve_params
from synthmill.sources.children import PARENT, RealChild, context_names, count_column, within
from synthmill.spec import Accept, Child, Job, Recipe, Source


@dataclass(frozen=True, slots=True)
class JobSlots:
    """What one job of the first table asks of a child table: `rows` slots under the hash of all that is given for them."""

    rows: int
    sha256: str
    families: dict[str, int]  # rows of the first table that have children, by stratum


def plan_child(recipe: Recipe, child: RealChild) -> Plan:
    """The child's plan, without rows as yet; mistakes are RecipeErrors at the keys below `children`."""
    wanted = recipe.children[child.name]
    _refuse_earlier(child.name, wanted)
    if wanted.params.get("warm_start"):
        where = f"children.{child.name}.params.warm_start"
        raise RecipeError("a child table cannot go on from an earlier model as yet", where=where, hint="leave it out")
    own, parts = _own_recipe(recipe, child.name, wanted), child.parts
    try:
        _refuse_inexact(own.jobs[0], child.joined)
        plan = make_plan(own, child.joined, parts.train, parts.a, parts.b)
    except (RecipeError, SourceError) as error:
        where = error.where.replace("jobs.0", f"children.{child.name}", 1)
        raise type(error)(error.what, where=within(child.name, where), hint=error.hint) from error
    context = context_names(child.joined)
    [job] = plan.jobs
    belonging = Belonging(
        key=child.key,
        reference=wanted.source.parent,
        context=context,
        count=f"{PARENT}{count_column(child.name)}",
        schema_=_released(child, job.schema_, wanted.source.parent),
    )
    jobs = (job.model_copy(update={"exact": context, "rows": 0, "strata": ()}),)
    return plan.model_copy(update={"belonging": belonging, "jobs": jobs})


def _own_recipe(recipe: Recipe, name: str, child: Child) -> Recipe:
    """The child as a recipe of its own: what its plan, report and manifest say."""
    source = child.source
    return Recipe(
        dataset=name,
        source=Source(
            path=source.path,
            target=source.target,
            protected=source.protected,
            holdout=recipe.source.holdout,
            columns=source.columns,
        ),
        seed=recipe.seed,
        jobs=(Job(generator=child.generator, rows=1, params=child.params),),
        rules=child.rules,
        accept=Accept(
            copies_of_train=child.accept.copies_of_train,
            candidates_per_row=float(child.accept.candidates_per_row),
            max_failed=0.0,
        ),
        scores=child.scores,
        gates=child.gates,
        release=recipe.release.model_copy(update={"include_real": False, "description": ""}),
    )


def _refuse_earlier(name: str, child: Child) -> None:
    for gates in child.gates.values():
        for gate in gates if isinstance(gates, tuple) else (gates,):
            if gate.not_worse_than is not None:
                what = "the gates of a child cannot compare with an earlier release"
                raise RecipeError(what, where=f"children.{name}.gates", hint="give at_least or at_most")


def refuse_private(plan: Plan) -> None:
    """Differential privacy hides one row of train; with children a person is many rows, of which it would promise nothing."""
    tables = (("jobs", plan), *((f"children.{child.recipe.dataset}", child) for child in plan.children))
    for where, table in tables if plan.children else ():
        if table.is_private:
            hint = "release the two tables apart, or without the promise"
            raise RecipeError("differential privacy is not kept across two tables", where=where, hint=hint)


def _refuse_inexact(job: Job, joined: Schema) -> None:
    """A child must get its parent's cells as they are."""
    kind = registry.generator(job.generator, where="jobs.0")
    params = resolve_params(job, kind, "jobs.0")
    if kind.modality != joined.modality:
        raise RecipeError(f"{job.generator} makes {kind.modality}, the source is {joined.modality}", where="jobs.0")
    if lost := [name for name in context_names(joined) if name not in kind.exact_conditions(joined, params)]:
        what = f"{job.generator} does not keep {lost[0]} as it is given, so it cannot make children"
        raise RecipeError(what, where="jobs.0", hint="all built-in generators of tables do")


def _released(child: RealChild, made: Schema, reference: str) -> Schema:
    """The child's columns as they stand in its file, with the types that the generator makes."""
    columns: list[Column] = [
        column if column.name == reference else made[column.name] for column in child.source.schema
    ]
    return Schema(columns=tuple(columns), target=made.target)


def with_slots(template: Plan, parent: Plan, slots: Sequence[JobSlots]) -> Plan:
    """The child's plan with a job for each job of the first table, and as many rows as it has slots."""
    assert template.belonging is not None, "it is a child's plan"
    name = template.recipe.dataset
    jobs = tuple(_job(template, job, own) for job, own in zip(parent.jobs, slots, strict=True))
    shares = tuple(
        FamilyShare(
            job=job.index,
            label=stratum.label,
            where={f"{PARENT}{column}": condition for column, condition in stratum.where.items()},
            rows=own.families.get(stratum.label, 0),
        )
        for job, own in zip(parent.jobs, slots, strict=True)
        for stratum in job.strata
    )
    belonging = template.belonging.model_copy(update={"parent": parent.fingerprint, "shares": shares})
    own_fingerprint = fingerprint("child", {"plan": template.fingerprint, "parent": parent.fingerprint, "name": name})
    return template.model_copy(update={"fingerprint": own_fingerprint, "belonging": belonging, "jobs": jobs})


def _job(template: Plan, parent: JobPlan, slots: JobSlots) -> JobPlan:
    """One stream of slots under the noise of its own, whatever the rows and the rules of the first table."""
    [job], recipe = template.jobs, template.recipe
    causes = {"job": job.fingerprint, "parent": parent.fingerprint, "name": recipe.dataset}
    own = fingerprint("stratum", causes)
    filters = {"rules": list(recipe.rules), "accept": recipe.accept.model_dump(mode="json"), "slots": slots.sha256}
    stratum = StratumPlan(
        label=f"{parent.index}:{recipe.dataset}",
        fingerprint=own,
        staging=fingerprint("staging", {"stratum": own, **filters}),
        where={},
        rows=slots.rows,
    )
    return job.model_copy(
        update={
            "index": parent.index,
            "fingerprint": fingerprint("job", causes),
            "rows": slots.rows,
            "strata": (stratum,),
        }
    )
