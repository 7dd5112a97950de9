"""The tables that measurements compare: equal rows a side, in the same mixture of strata, drawn once for all evaluators."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from synthmill.columns import Schema
from synthmill.rules import Rules
from synthmill.scoring.controls import control
from synthmill.scoring.draw import draw_rows
from synthmill.scoring.histograms import Histogram, histograms
from synthmill.scoring.references import StratumShare, eligibility, match
from synthmill.seeds import derive
from synthmill.sources.children import one_a_family

SAMPLES_PER_STRATUM = 10
SAMPLED_STRATA = 20

Mixture = int | None  # one job's strata, or all of them


@dataclass(frozen=True, slots=True)
class Real:
    """All real rows: holdout A and B, and train."""

    a: pa.Table
    b: pa.Table
    train: pa.Table


@dataclass(frozen=True, slots=True)
class Subject:
    """What is to be scored, and beside what. `candidate` is a folder of Parquet files with a column `_stratum`."""

    candidate: Path
    real: Real
    schema: Schema
    strata: tuple[StratumShare, ...]
    seed: int
    rules: tuple[str, ...] = ()
    protected: str | None = None
    context: tuple[str, ...] = ()  # the columns of `schema` that a child has from its parent
    count: str | None = (
        None  # the one of them that says how many siblings there are; `candidate` has one of each family
    )


@dataclass(frozen=True, slots=True)
class Draw:
    """The rows for one mixture: those of the candidate as they are, those of A, B and train by number.

    Each holds `quotas[s]` rows of stratum s, one stratum after the other. `covered`: the share of accepted rows that have references.
    """

    candidate: pa.Table
    a: NDArray[np.int64]
    b: NDArray[np.int64]
    train: NDArray[np.int64]
    quotas: tuple[int, ...]
    covered: float
    floor_key: int

    @property
    def rows(self) -> int:
        """Rows a side."""
        return sum(self.quotas)


@dataclass(frozen=True)
class Exam:
    """Everything that evaluators read, whoever runs them: real rows once, and a draw for each mixture and greatest number of rows.

    Of a child table `schema` has its own columns, and `joined` those of the parents beside them; elsewhere the two are one.
    """

    schema: Schema
    joined: Schema
    strata: tuple[StratumShare, ...]
    seed: int
    rules: tuple[str, ...]
    protected: str | None
    real: Real
    draws: Mapping[tuple[Mixture, int], Draw]
    samples: pa.Table  # synthetic rows, up to ten a stratum
    histograms: tuple[Histogram, ...]

    @cached_property
    def mixtures(self) -> tuple[Mixture, ...]:
        """The whole dataset, then each job where there are several."""
        jobs = sorted({stratum.job for stratum in self.strata})
        return (None, *jobs) if len(jobs) > 1 else (None,)

    def measured(self, draw: Draw, role: str) -> pa.Table:
        """The table that stands in one role: `candidate`, `ceiling` (holdout A in its place) or `floor`."""
        if role == "candidate":
            return draw.candidate
        if role == "ceiling":
            return self.real.a.take(draw.a)
        train = self.real.train.take(draw.train)
        context = [name for name in self.joined.names if name not in self.schema]
        return control(train, self.strata, draw.quotas, schema=self.joined, seed=draw.floor_key, context=context)


def draw_exam(subject: Subject, most: Sequence[int]) -> Exam:
    """Draw all sides; `most` are the numbers of rows a side that evaluators take at most. The same rows for the same seed."""
    real = (subject.real.a, subject.real.b, subject.real.train)
    rules = Rules(subject.rules, subject.schema)
    eligible = [eligibility(table, subject.strata, subject.schema, rules) for table in real]
    if subject.count is not None:
        lone = (one_a_family(table, subject.context, subject.count) for table in real)
        eligible = [met & is_one[:, None] for met, is_one in zip(eligible, lone, strict=True)]
    jobs = sorted({stratum.job for stratum in subject.strata})

    def draw(mixture: Mixture, rows: int) -> Draw:
        strata = subject.strata
        accepted = np.array([s.rows if mixture in (None, s.job) else 0 for s in strata], dtype=np.int64)
        key = derive(subject.seed, "sides", "all" if mixture is None else mixture, rows)
        rng = np.random.default_rng(key)
        matched = match(eligible, accepted, most=rows, rng=rng)
        candidate = draw_rows(subject.candidate, strata, matched.quotas, schema=subject.schema, rng=rng)
        a, b, train = matched.numbers
        return Draw(candidate, a, b, train, matched.quotas, matched.covered, derive(key, "floor"))

    mixtures: list[Mixture] = [None, *jobs] if len(jobs) > 1 else [None]
    draws = {(mixture, rows): draw(mixture, rows) for mixture in mixtures for rows in sorted(set(most))}
    whole, own = draws[None, max(most)], subject.schema.without(subject.context)
    return Exam(
        schema=own,
        joined=subject.schema,
        strata=subject.strata,
        seed=subject.seed,
        rules=subject.rules,
        protected=subject.protected,
        real=subject.real,
        draws=draws,
        samples=_samples(subject).select(own.names),
        histograms=histograms(whole.candidate, subject.real.b.take(whole.b), own.columns),
    )


def _samples(subject: Subject) -> pa.Table:
    quotas = [min(SAMPLES_PER_STRATUM, s.rows) if i < SAMPLED_STRATA else 0 for i, s in enumerate(subject.strata)]
    rng = np.random.default_rng(derive(subject.seed, "samples"))
    return draw_rows(subject.candidate, subject.strata, quotas, schema=subject.schema, rng=rng)
