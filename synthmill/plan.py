"""The plan: a recipe resolved against its source, with the fingerprints that decide what can be reused.

What each fingerprint holds, and why nothing else:

    model    generator and codec versions, fit params, train rows and schema, seed, the versions of what a fit computes with (numpy,
             scikit-learn, scipy, torch, xgboost), and the model that a warm start goes on from: the weights' causes
    job      the model, sampling params, conditions, micro-batch: the candidates' causes. Not rows, other jobs, workers or rules
    stratum  the job and one condition value: the stream of candidates, and the key of their noise
    staging  the stratum, the rules and copies_of_train: what is written beside each candidate
    plan     the recipe, the source, jobs, evaluators' versions, the versions that write bytes: the dataset's causes
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import pyarrow as pa
from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError

from synthmill import registry
from synthmill.columns import Schema
from synthmill.conditions import Condition, meeting
from synthmill.errors import RecipeError
from synthmill.fingerprint import fingerprint
from synthmill.generator import Generator, Params
from synthmill.measures import evaluator_versions, spelt_out
from synthmill.meetable import balance_values, named_column, refuse_impossible, refuse_unseen
from synthmill.privacy import Secret, refuse_leaks, refuse_unstated, stated_values, without_sight_of_ids
from synthmill.problems import first_problem
from synthmill.rows import content_hash
from synthmill.rules import Rules
from synthmill.spec import Job, Recipe

FORMAT = 2  # 2: the same rows in files that say that they are synthetic
_MODEL_PACKAGES = ("numpy", "scikit-learn", "scipy", "torch", "xgboost-cpu")
_NOISE_PACKAGES = ("opacus",)  # beside scipy, how much and which: fits that differ in them must not share their noise
_BYTES_PACKAGES = ("duckdb", "numpy", "pillow", "pyarrow", "scikit-learn", "scipy", "torch", "xgboost-cpu")


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True, serialize_by_alias=True)


class SourcePlan(_Frozen):
    """The real data as it was read and split; the fingerprint covers every row."""

    fingerprint: str
    train: str  # content hash
    train_rows: int
    a_rows: int
    b_rows: int
    schema_: Schema = Field(alias="schema")


class Ancestor(_Frozen):
    """The model that a warm start goes on from, and the source that it was fitted on."""

    model: str
    source: str


class ModelPlan(_Frozen):
    """One model to have: fitted, or found by its fingerprint.

    With `params.warm_start` it has `kin`, which is the same for all models of the dataset that may go on from each other, and `before`
    unless it is the first. One `is_private` that promises differential privacy.
    """

    fingerprint: str
    generator: str
    params: dict[str, JsonValue]
    trains: bool
    is_private: bool = False
    kin: str | None = None
    before: Ancestor | None = None


FindAncestor = Callable[[str, str], Ancestor | None]
"""Kin and the hash of train -> what to go on from."""
FindSecret = Callable[[], Secret]
"""What state alone knows; asked for only where a job promises privacy."""


class StratumPlan(_Frozen):
    """One stream of candidates and the number of accepted rows wanted of it."""

    label: str  # unique in the plan; the `_stratum` of its rows
    fingerprint: str
    staging: str
    where: dict[str, Condition]
    rows: int


class JobPlan(_Frozen):
    """One job resolved: its model, how each condition is met, and its strata."""

    index: int
    fingerprint: str
    generator: str
    params: dict[str, JsonValue]
    model: str
    rows: int
    micro_batch: int
    exact: tuple[str, ...]
    by_rejection: tuple[str, ...]
    strata: tuple[StratumPlan, ...]
    schema_: Schema = Field(alias="schema")
    is_private: bool = False


class FamilyShare(_Frozen):
    """The rows of a child table that are scored, one a family, of one stratum of the first table, whose label they bear."""

    job: int
    label: str
    where: dict[str, Condition]  # on the parent's columns, as a child's row is joined with them
    rows: int


class Belonging(_Frozen):
    """What makes a plan the plan of a child table: whose rows it belongs to, and what is released of it.

    The plan's source is the joined rows. `shares` are known, and jobs have rows, once the rows of the first table are.
    """

    key: str  # of the first table
    reference: str  # the column that holds it
    context: tuple[str, ...]  # the columns of the source that are the parent's
    count: str  # the one of them that says how many rows the family has
    schema_: Schema = Field(alias="schema")
    parent: str = ""  # fingerprint of the first table's plan
    shares: tuple[FamilyShare, ...] = ()


class Plan(_Frozen):
    """Everything that decides the bytes of a release."""

    format: int = FORMAT
    fingerprint: str
    identity: str  # without rows and seed: what makes a release more than a patch
    recipe: Recipe
    source: SourcePlan
    models: tuple[ModelPlan, ...]
    jobs: tuple[JobPlan, ...]
    versions: dict[str, str]
    children: tuple[Plan, ...] = ()
    belonging: Belonging | None = None  # of a child's plan

    @property
    def scored(self) -> Schema:
        """The columns that are made: without what a child has from its parent."""
        made = self.jobs[0].schema_
        return made if self.belonging is None else made.without(self.belonging.context)

    @property
    def released(self) -> Schema:
        """The columns of the released rows, without provenance."""
        return self.jobs[0].schema_ if self.belonging is None else self.belonging.schema_

    @property
    def rows(self) -> int:
        """Accepted rows over all jobs."""
        return sum(job.rows for job in self.jobs)

    @property
    def is_private(self) -> bool:
        """Its models promise differential privacy; then all of them do."""
        return any(model.is_private for model in self.models)

    @property
    def before(self) -> str | None:
        """The source that the models before these were fitted on; None without a warm start."""
        return next((model.before.source for model in self.models if model.before is not None), None)


def no_ancestor(kin: str, train: str) -> None:
    """A FindAncestor for plans outside of a workspace."""


def make_plan(
    recipe: Recipe,
    schema: Schema,
    train: pa.Table,
    a: pa.Table,
    b: pa.Table,
    find_ancestor: FindAncestor = no_ancestor,
    find_secret: FindSecret = Secret.fresh,
    children: Sequence[Plan] = (),
) -> Plan:
    """Resolve a recipe; every mistake that can be known before a fit is a RecipeError here. `children` are resolved already."""
    hashes = {"train": content_hash(train), "a": content_hash(a), "b": content_hash(b)}
    if _is_private(recipe, schema, train):
        secret, schema = find_secret(), without_sight_of_ids(schema)
        hashes = {part: secret.hash(part, found) for part, found in hashes.items()}
    source = SourcePlan(
        fingerprint=fingerprint("source", {**hashes, "schema": schema.model_dump(mode="json")}),
        train=hashes["train"],
        train_rows=train.num_rows,
        a_rows=a.num_rows,
        b_rows=b.num_rows,
        schema_=schema,
    )
    recipe = spelt_out(recipe, schema)
    refuse_impossible(Rules(recipe.rules, schema), recipe, train, holdout=(a, b))
    planned = [_plan_job(recipe, index, job, source, train, find_ancestor) for index, job in enumerate(recipe.jobs)]
    models = {model.fingerprint: model for model, _ in planned}
    jobs = tuple(job for _, job in planned)
    _refuse_twins(jobs)
    _refuse_different_schemas(jobs)
    evaluators = evaluator_versions(recipe, schema)
    versions = versions_of(_BYTES_PACKAGES)
    causes = {"source": source.fingerprint, "evaluators": evaluators, "versions": versions, "format": FORMAT}
    own = {**causes, "recipe": recipe_json(recipe), "jobs": [job.fingerprint for job in jobs]}
    kind = {**causes, "recipe": _without_rows_and_seed(recipe), "codes": [_code(job) for job in jobs]}
    if children:  # else nothing of them is in there, as before there could be any
        own["children"] = [child.fingerprint for child in children]
        kind["children"] = [child.identity for child in children]
    return Plan(
        fingerprint=fingerprint("plan", own),
        identity=fingerprint("identity", kind),
        recipe=recipe,
        source=source,
        models=tuple(models.values()),
        jobs=jobs,
        versions=versions,
        children=tuple(children),
    )


def resolve_params(job: Job, kind: type[Generator], where: str) -> Params:
    """The job's params checked by the generator's own model."""
    try:
        return kind.Params.parse(job.params)
    except ValidationError as error:
        problem = first_problem(error, job.params, kind.Params)
        hint = problem.hint or f"{job.generator} takes {', '.join(kind.Params.model_fields)}"
        raise RecipeError(problem.what, where=f"{where}.params", hint=hint) from None


def _is_private(recipe: Recipe, schema: Schema, train: pa.Table) -> bool:
    """Whether the jobs promise privacy; RecipeError where the recipe cannot keep it."""
    promises, params = [], []
    for index, job in enumerate(recipe.jobs):
        kind = registry.generator(job.generator, where=f"jobs.{index}")
        params.append(resolve_params(job, kind, f"jobs.{index}"))
        promises.append(kind.promise(params[-1]))
    refuse_leaks(recipe, schema, train.num_rows, promises, params)
    return any(promises)


def versions_of(packages: Iterable[str]) -> dict[str, str]:
    """Installed versions, without local build tags; packages that are absent are left out."""
    found = {}
    for name in packages:
        try:
            found[name] = version(name).partition("+")[0]
        except PackageNotFoundError:
            continue
    return found


def recipe_json(recipe: Recipe) -> dict[str, Any]:
    """The recipe as plain JSON with every default filled in; of children nothing where there are none, as before there could be."""
    plain = recipe.model_dump(mode="json", by_alias=True)
    if not recipe.children:
        del plain["children"]
    if recipe.source.key is None:
        del plain["source"]["key"]
    return plain


def _without_rows_and_seed(recipe: Recipe) -> dict[str, Any]:
    plain = recipe_json(recipe)
    plain.pop("seed")
    for job in plain["jobs"]:
        job.pop("rows")
    return plain


def _code(job: JobPlan) -> dict[str, Any]:
    kind = registry.generator(job.generator)
    codec = kind.codec.version if kind.codec else 0
    return {
        "generator": job.generator,
        "version": kind.version,
        "codec": codec,
        "versions": _model_versions(is_private=job.is_private),
    }


def _model_versions(*, is_private: bool) -> dict[str, str]:
    return versions_of((*_MODEL_PACKAGES, *(_NOISE_PACKAGES if is_private else ())))


def _plan_job(
    recipe: Recipe, index: int, job: Job, source: SourcePlan, train: pa.Table, find_ancestor: FindAncestor
) -> tuple[ModelPlan, JobPlan]:
    where = f"jobs.{index}"
    kind = registry.generator(job.generator, where=where)
    if kind.modality != source.schema_.modality:
        raise RecipeError(
            f"{job.generator} makes {kind.modality}, the source is {source.schema_.modality}", where=where
        )
    params = resolve_params(job, kind, where)
    plain: dict[str, JsonValue] = params.model_dump(mode="json")
    schema = kind.schema(source.schema_, params)
    model = _plan_model(recipe, job, kind, params, source, find_ancestor)
    conditions = {name: c.model_dump(mode="json", by_alias=True, exclude_none=True) for name, c in job.where.items()}
    causes = {
        "model": model.fingerprint,
        "params": plain,
        "where": conditions,
        "balance": job.balance,
        "micro_batch": kind.micro_batch,
    }
    job_fingerprint = fingerprint("job", causes)
    exact = kind.exact_conditions(source.schema_, params)
    if model.is_private:  # else the given values would be drawn from train rows
        exact = frozenset(name for name in exact if name not in job.where or job.where[name].operator == "is")
    asked = [*job.where, *([job.balance] if job.balance else [])]
    strata = _plan_strata(recipe, index, job_fingerprint, source.schema_, train, is_private=model.is_private)
    return model, JobPlan(
        index=index,
        fingerprint=job_fingerprint,
        generator=job.generator,
        params=plain,
        model=model.fingerprint,
        rows=job.rows,
        micro_batch=kind.micro_batch,
        exact=tuple(name for name in asked if name in exact),
        by_rejection=tuple(name for name in asked if name not in exact),
        strata=strata,
        schema_=schema,
        is_private=model.is_private,
    )


def _plan_model(
    recipe: Recipe, job: Job, kind: type[Generator], params: Params, source: SourcePlan, find_ancestor: FindAncestor
) -> ModelPlan:
    plain: dict[str, JsonValue] = params.model_dump(mode="json")
    is_private = kind.promise(params) is not None
    fit_params = {k: v for k, v in plain.items() if k not in kind.Params.sampling_only()}
    made_by = {
        "generator": job.generator,
        "version": kind.version,
        "codec": kind.codec.version if kind.codec else 0,
        "params": fit_params,
    }
    causes = {
        **made_by,
        "train": source.train,
        "schema": source.schema_.model_dump(mode="json"),
        "seed": recipe.seed,
        "versions": _model_versions(is_private=is_private),
    }
    kin = before = None
    if plain.get("warm_start"):
        kin = fingerprint("kin", {**made_by, "dataset": recipe.dataset})
        before = find_ancestor(kin, source.train)
        causes["before"] = before and before.model
    return ModelPlan(
        fingerprint=fingerprint("model", causes),
        generator=job.generator,
        params=fit_params,
        trains=kind.trains,
        is_private=is_private,
        kin=kin,
        before=before,
    )


def _plan_strata(
    recipe: Recipe, index: int, job_fingerprint: str, schema: Schema, train: pa.Table, *, is_private: bool
) -> tuple[StratumPlan, ...]:
    job = recipe.jobs[index]
    values = _stated_values(job, index, schema) if is_private else _found_values(job, index, schema, train)
    filters: dict[str, object] = {"rules": list(recipe.rules), "copies_of_train": recipe.accept.copies_of_train}
    strata = []
    for place, value in enumerate(values):
        rows = len(range(place, job.rows, len(values)))  # row r belongs to stratum r mod k
        where: Mapping[str, Condition] = job.where if job.balance is None else {**job.where, job.balance: _is(value)}
        label = ",".join(f"{name}={condition}" for name, condition in where.items()) or "all"
        own = fingerprint("stratum", {"job": job_fingerprint, "value": None if job.balance is None else str(value)})
        staging = fingerprint("staging", {"stratum": own, **filters})
        strata.append(
            StratumPlan(label=f"{index}:{label}", fingerprint=own, staging=staging, where=dict(where), rows=rows)
        )
    return tuple(strata)


def _found_values(job: Job, index: int, schema: Schema, train: pa.Table) -> Sequence[object]:
    """The values that a job is balanced over, by the train rows that meet its conditions; [None] without a balance."""
    columns = {name: named_column(schema, name, f"jobs.{index}.where.{name}") for name in job.where}
    if job.balance is not None:
        columns[job.balance] = named_column(schema, job.balance, f"jobs.{index}.balance")
    for name, condition in job.where.items():
        refuse_unseen(train, columns[name], condition, f"jobs.{index}.where.{name}")
    matching = train.filter(meeting(train, job.where, columns))
    if matching.num_rows == 0:
        raise RecipeError(
            "no train row meets all conditions together", where=f"jobs.{index}.where", hint="loosen one of them"
        )
    return balance_values(columns[job.balance], matching, index) if job.balance else [None]


def _stated_values(job: Job, index: int, schema: Schema) -> Sequence[object]:
    """The same by the recipe alone, for a job that promises privacy."""
    for name, condition in job.where.items():
        where = f"jobs.{index}.where.{name}"
        refuse_unstated(named_column(schema, name, where), condition, where)
    if job.balance is None:
        return [None]
    return stated_values(named_column(schema, job.balance, f"jobs.{index}.balance"), f"jobs.{index}.balance")


def _is(value: object) -> Condition:
    return Condition.model_validate({"is": value if isinstance(value, bool | int | float | str) else str(value)})


def _refuse_twins(jobs: tuple[JobPlan, ...]) -> None:
    seen: dict[str, int] = {}
    for job in jobs:
        if (other := seen.setdefault(job.fingerprint, job.index)) != job.index:
            hint = "they would make the same rows: join them into one with the sum of rows, or change a parameter"
            raise RecipeError(
                f"jobs.{other} and jobs.{job.index} are the same job", where=f"jobs.{job.index}", hint=hint
            )


def _refuse_different_schemas(jobs: tuple[JobPlan, ...]) -> None:
    for job in jobs[1:]:
        if job.schema_ != jobs[0].schema_:
            what = f"{job.generator} makes other columns than {jobs[0].generator}; one dataset has one schema"
            raise RecipeError(what, where=f"jobs.{job.index}")
