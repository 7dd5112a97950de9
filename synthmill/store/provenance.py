"""Where a release comes from, kept in metrics/NAME.json and so in git: it can be traced although its data is purged or out of reach.

Names, hashes and counts; no row and no cell. Lists, because `dvc metrics` shows the numbers of mappings and leaves lists out.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from synthmill import registry
from synthmill.columns import Column
from synthmill.plan import Ancestor, Plan

_KEYS = ("sources", "jobs", "columns", "packages")


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")  # a later format may say more


class SourceEntry(_Frozen):
    """One of the places that real rows were read from. The fingerprint covers all rows of a table, its holdout's too."""

    role: Literal["source", "holdout", "child"]
    uri: str
    child: str | None = None
    fingerprint: str | None = None
    train: str | None = None
    train_rows: int | None = None  # None where the fits promise privacy


class JobEntry(_Frozen):
    """Who made some of the rows: generator and codec with their versions, the model, and the one that it went on from."""

    generator: str
    version: int | None = None
    codec: int | None = None
    model: str
    rows: int | None = None
    child: str | None = None
    before: Ancestor | None = None


class Package(_Frozen):
    """A package whose version is in the plan's fingerprint."""

    name: str
    version: str


class Provenance(_Frozen):
    """All of it, of one release."""

    sources: tuple[SourceEntry, ...]
    jobs: tuple[JobEntry, ...]
    columns: tuple[Column, ...]
    packages: tuple[Package, ...]


def provenance(plan: Plan) -> dict[str, object]:
    """What metrics/NAME.json says of the plan's causes."""
    sources = (*_sources(plan), *(_child_source(child) for child in plan.children))
    jobs = (job for one in (plan, *plan.children) for job in _jobs(one))
    return {
        "sources": [source.model_dump(mode="json", exclude_none=True) for source in sources],
        "jobs": [job.model_dump(mode="json", exclude_none=True) for job in jobs],
        "columns": [column.model_dump(mode="json") for column in plan.released.columns],
        "packages": [{"name": name, "version": version} for name, version in sorted(plan.versions.items())],
    }


def read_provenance(metrics: Mapping[str, object]) -> Provenance | None:
    """None for a release of metrics format 1 or 2, which had none, and for what a person tagged."""
    if not all(key in metrics for key in _KEYS):
        return None
    try:
        return Provenance.model_validate({key: metrics[key] for key in _KEYS})
    except ValidationError:
        return None


def _sources(plan: Plan) -> Iterator[SourceEntry]:
    source, asked = plan.source, plan.recipe.source
    rows = None if plan.is_private else source.train_rows
    yield SourceEntry(
        role="source", uri=asked.path, fingerprint=source.fingerprint, train=source.train, train_rows=rows
    )
    if isinstance(asked.holdout, str):
        yield SourceEntry(role="holdout", uri=asked.holdout)


def _child_source(child: Plan) -> SourceEntry:
    """A child's own fingerprint covers its rows joined with those of its parents."""
    source = child.source
    return SourceEntry(
        role="child",
        child=child.recipe.dataset,
        uri=child.recipe.source.path,
        fingerprint=source.fingerprint,
        train=source.train,
        train_rows=None if child.is_private else source.train_rows,
    )


def _jobs(plan: Plan) -> Iterator[JobEntry]:
    before = {model.fingerprint: model.before for model in plan.models}
    for job in plan.jobs:
        kind = registry.generator(job.generator)
        yield JobEntry(
            generator=job.generator,
            version=kind.version,
            codec=kind.codec.version if kind.codec else None,
            model=job.model,
            rows=job.rows or None,  # of a child only known once its parents are made
            child=None if plan.belonging is None else plan.recipe.dataset,
            before=before.get(job.model),
        )
