"""The tables that one measurement compares: equal rows a side, in the same mixture of strata."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import pyarrow as pa

from synthmill.columns import Schema
from synthmill.rules import Rules
from synthmill.scoring.controls import control
from synthmill.scoring.draw import draw_rows
from synthmill.scoring.references import Eligible, StratumShare, eligibility, match
from synthmill.seeds import derive


@dataclass(frozen=True, slots=True)
class Sides:
    """Tables with `quotas[s]` rows of stratum s, one after the other. `covered`: the share of accepted rows that have references."""

    candidate: pa.Table
    a: pa.Table
    b: pa.Table
    train: pa.Table
    floor: pa.Table
    quotas: tuple[int, ...]
    covered: float

    @property
    def rows(self) -> int:
        """Rows a side."""
        return sum(self.quotas)


@dataclass(frozen=True, slots=True)
class Pools:
    """Everything that sides are drawn from: the candidate's files, and A, B and train with the strata their rows are eligible for."""

    candidate: Path
    strata: tuple[StratumShare, ...]
    schema: Schema
    seed: int
    real: tuple[pa.Table, pa.Table, pa.Table]  # A, B, train
    eligible: tuple[Eligible, ...]

    @classmethod
    def gather(
        cls,
        candidate: Path,
        strata: Sequence[StratumShare],
        schema: Schema,
        seed: int,
        *,
        real: tuple[pa.Table, pa.Table, pa.Table],
        rules: Sequence[str],
    ) -> Self:
        """Find out once which real row could stand for which stratum."""
        compiled = Rules(rules, schema)
        eligible = tuple(eligibility(table, strata, schema, compiled) for table in real)
        return cls(candidate, tuple(strata), schema, seed, real, eligible)

    def draw(self, job: int | None, most: int) -> Sides:
        """Sides for one job's mixture of strata, or for the whole dataset's; the same ones for the same seed."""
        accepted = np.array([s.rows if job in (None, s.job) else 0 for s in self.strata], dtype=np.int64)
        key = derive(self.seed, "sides", "all" if job is None else job, most)
        rng = np.random.default_rng(key)
        matched = match(self.real, self.eligible, accepted, most=most, rng=rng)
        candidate = draw_rows(self.candidate, self.strata, matched.quotas, schema=self.schema, rng=rng)
        a, b, train = matched.tables
        floor = control(train, self.strata, matched.quotas, schema=self.schema, seed=derive(key, "floor"))
        return Sides(candidate, a, b, train, floor, matched.quotas, matched.covered)
