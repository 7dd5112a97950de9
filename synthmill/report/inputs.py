"""What the report is told: plain facts, no time, host or path, so that the same run gives the same page."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from pydantic import JsonValue

from synthmill.columns import Schema
from synthmill.drift import Drift
from synthmill.scoring import Scores
from synthmill.scoring.gates import Verdict
from synthmill.scoring.previous import PreviousRelease
from synthmill.spec import Job


@dataclass(frozen=True, slots=True)
class SourceFacts:
    """The real data: where the recipe says it is, how many rows it was split into, and which columns have a role."""

    path: str
    train_rows: int
    holdout_rows: int
    target: str | None = None
    protected: str | None = None


@dataclass(frozen=True, slots=True)
class JobFacts:
    """One job: `conditions` in words, empty where it has none."""

    generator: str
    rows: int
    conditions: str = ""


@dataclass(frozen=True, slots=True)
class StratumFacts:
    """One stratum as it went: `rejects` by reason, out of `candidates` made for `rows` accepted; `job` counts from 0."""

    job: int
    generator: str
    label: str
    rows: int
    candidates: int
    rejects: tuple[tuple[str, int], ...] = ()


@dataclass(frozen=True, slots=True)
class ReportInput:
    """All that the report shows. `facts` are (name, value) lines on how it was made: no time, host or path belongs there.

    `jobs` and `source` are empty for a table that no recipe made. `override` is the reason that a person gave for releasing in
    spite of the gates that block; `previous` is the release to compare with, and `recipe` that of now with every default filled in.
    `drift` is there for a warm start.
    """

    dataset: str
    schema: Schema
    rows: int
    strata: tuple[StratumFacts, ...]
    scores: Scores
    verdicts: tuple[Verdict, ...] = ()
    facts: tuple[tuple[str, str], ...] = ()
    jobs: tuple[JobFacts, ...] = ()
    source: SourceFacts | None = None
    override: str | None = None
    previous: PreviousRelease | None = None
    recipe: Mapping[str, JsonValue] = field(default_factory=dict)
    drift: Drift | None = None


def in_words(job: Job) -> str:
    """The conditions of a job as a person would say them."""
    asked = [f"balanced by {job.balance}"] if job.balance else []
    for column, condition in job.where.items():
        if condition.between is not None:
            asked.append(f"{column} between {condition.between[0]} and {condition.between[1]}")
        elif condition.in_ is not None:
            asked.append(f"{column} one of {', '.join(map(str, condition.in_))}")
        else:
            asked.append(f"{column} is {condition.is_}")
    return ", ".join(asked)
