"""The score runner: each evaluator on the candidate, on real rows in its place and on the floor control, with intervals.

Plain functions: no Ray, no Prefect, no clock. The same candidate, real rows and seed give the same scores, bit for bit.
"""

from __future__ import annotations

import inspect
import math
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, partial
from itertools import count
from pathlib import Path
from typing import TypeVar

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from synthmill.columns import Schema
from synthmill.errors import Interrupted, RecipeError, SynthmillError
from synthmill.evaluator import Direction, Evaluator, Measured, Measurement, Reference, References, Score
from synthmill.registry import evaluator
from synthmill.scoring.draw import draw_rows
from synthmill.scoring.histograms import Histogram, histograms
from synthmill.scoring.intervals import REPLICATES, Interval, around, half
from synthmill.scoring.references import MINIMUM_STRATUM_ROWS, StratumShare
from synthmill.scoring.sides import Pools, Sides
from synthmill.seeds import derive

MINIMUM_COVERED = 0.9  # share of accepted rows whose stratum has references
SAMPLES_PER_STRATUM = 10
SAMPLED_STRATA = 20

T = TypeVar("T")

Progress = Callable[[str, int, int], None]  # evaluator's key, its measurements done, of how many
Values = dict[str, NDArray[np.float64]]  # name -> the value of all rows, then of each half-sample: (1 + replicates,)


@dataclass(frozen=True, slots=True)
class Scores:
    """`scores` of the whole mixture, `by_job` in recipe order; `tables`, `histograms` and `samples` for the report.

    No real row is in it: histograms are counts, samples are synthetic rows, up to ten a stratum.
    """

    scores: tuple[Score, ...]
    by_job: tuple[tuple[Score, ...], ...]
    tables: Mapping[str, pa.Table]
    histograms: tuple[Histogram, ...]
    samples: pa.Table


def score(
    keys: Sequence[str],
    *,
    candidate: Path,
    train: pa.Table,
    a: pa.Table,
    b: pa.Table,
    schema: Schema,
    strata: Sequence[StratumShare],
    rules: Sequence[str],
    seed: int,
    progress: Progress,
) -> Scores:
    """Measure the candidate, a folder of Parquet files, by each evaluator; an evaluator that raises becomes a failed score."""
    pools = Pools.gather(candidate, strata, schema, seed, real=(a, b, train), rules=rules)
    jobs = sorted({stratum.job for stratum in strata})
    draw = cache(pools.draw)
    mixtures: list[int | None] = [None, *jobs] if len(jobs) > 1 else [None]
    found = [_score_mixtures(key, mixtures, draw, pools, progress) for key in keys]
    by_mixture = [tuple(score for outcomes in found for score in outcomes[i].scores) for i in range(len(mixtures))]
    whole = draw(None, max((evaluator(key).maximum_rows for key in keys), default=Evaluator.maximum_rows))
    return Scores(
        scores=by_mixture[0],
        by_job=tuple(by_mixture[1:] or by_mixture),
        tables={
            f"{key}/{name}": t
            for key, outcomes in zip(keys, found, strict=True)
            for name, t in outcomes[0].tables.items()
        },
        histograms=histograms(whole.candidate, whole.b, schema.columns),
        samples=_samples(pools),
    )


@dataclass(frozen=True, slots=True)
class _Outcome:
    """What one evaluator says of one mixture."""

    scores: tuple[Score, ...]
    tables: Mapping[str, pa.Table] = field(default_factory=dict)


def _score_mixtures(
    key: str, mixtures: Sequence[int | None], draw: Callable[[int | None, int], Sides], pools: Pools, progress: Progress
) -> list[_Outcome]:
    """One evaluator on the whole dataset and on each job; what it prepares, it prepares once."""
    subject = evaluator(key)()
    prepared = _attempt(key, subject, partial(_prepare, key, subject, pools))
    outcomes = []
    for job in mixtures:
        sides = draw(job, subject.maximum_rows)
        if isinstance(prepared, _Outcome):  # it failed
            outcomes.append(prepared)
            continue
        trial = _Trial(key, subject, prepared.features, sides, pools, progress)
        outcomes.append(_attempt(key, subject, trial.outcome))
    return outcomes


@dataclass(frozen=True, slots=True)
class _Prepared:
    features: object | None


def _prepare(key: str, subject: Evaluator, pools: Pools) -> _Prepared:
    schema = pools.schema
    if subject.modality != schema.modality:
        raise RecipeError(f"{key} measures {subject.modality} data, and this is {schema.modality} data")
    if subject.needs_target and schema.target is None:
        raise RecipeError(f"{key} needs source.target")
    return _Prepared(subject.prepare(pools.real[2], schema, seed=_seed(pools.seed, key, "prepare")))


def _attempt(key: str, subject: Evaluator, action: Callable[[], T]) -> T | _Outcome:
    """Whatever an evaluator raises is a failed score with its reason: one that breaks must not take the others with it."""
    try:
        return action()
    except Interrupted:
        raise
    except Exception as error:  # noqa: BLE001
        reason = _reason(error, subject)
        return _Outcome((Score(name=key, value=None, direction=subject.direction, status="failed", reason=reason),))


def _reason(error: Exception, subject: Evaluator) -> str:
    """Our own errors hold no cell of data; of others' only the type and the evaluator's line are safe to print."""
    if isinstance(error, SynthmillError):
        return error.what
    own = [
        frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename == inspect.getfile(type(subject))
    ]
    at = f" at {Path(own[-1].filename).name}:{own[-1].lineno}" if own else ""
    return f"{type(error).__name__}{at}"


@dataclass(frozen=True, slots=True)
class _Trial:
    """One evaluator before one mixture."""

    key: str
    subject: Evaluator
    features: object | None
    sides: Sides
    pools: Pools
    progress: Progress

    def outcome(self) -> _Outcome:
        """The scores with floor, ceiling and intervals, or `undetermined` where there are too few rows to measure."""
        rows, least = self.sides.rows, self.subject.minimum_rows
        if rows < least:
            reason = (
                f"{rows} rows a side that meet conditions and rules, and it takes {least} "
                f"(of a stratum with under {MINIMUM_STRATUM_ROWS} held-out rows none count)"
            )
            return _Outcome((self._undetermined(self.key, reason),))
        roles = [self.sides.candidate, self.sides.a, *([self.sides.floor] if self.subject.has_floor else [])]
        done, every = count(1), len(roles) * (1 + REPLICATES)
        estimates = [self._estimate(table, lambda: self.progress(self.key, next(done), every)) for table in roles]
        (values, tables), (ceilings, _), *rest = estimates
        floors = rest[0][0] if rest else {}
        scores = (self._score(name, v, ceilings.get(name), floors.get(name)) for name, v in values.items())
        return _Outcome(tuple(scores), tables)

    def _estimate(self, table: pa.Table, tick: Callable[[], None]) -> tuple[Values, Mapping[str, pa.Table]]:
        """Measure all rows, then half of both sides again and again; each role meets the same halves, so that their luck cancels."""
        found = []
        for replicate in range(1 + REPLICATES):
            found.append(self._measure(table, replicate))
            tick()
        values = {name: np.array([m.scores.get(name, math.nan) for m in found]) for name in found[0].scores}
        return values, found[0].tables

    def _measure(self, table: pa.Table, replicate: int) -> Measurement:
        """Replicate 0 is all rows. Privacy meets all train rows each time: they are the given, not a draw."""
        holdout, train = self.sides.b, self.sides.train
        if replicate:
            table, halved = table.take(self._half(replicate, "measured")), self._half(replicate, "reference")
            holdout, train = holdout.take(halved), train.take(halved)
        if self.subject.against == "train":
            train = self.pools.real[2]
        references = References(self.pools.schema, Reference(holdout), Reference(train), self.features)
        return self.subject.measure(Measured(table), references, seed=_seed(self.pools.seed, self.key, replicate))

    def _half(self, replicate: int, side: str) -> NDArray[np.int64]:
        return half(self.sides.quotas, np.random.default_rng(derive(self.pools.seed, "half", replicate, side)))

    def _score(
        self,
        name: str,
        values: NDArray[np.float64],
        ceilings: NDArray[np.float64] | None,
        floors: NDArray[np.float64] | None,
    ) -> Score:
        full = f"{self.key}/{name}" if name else self.key
        if not math.isfinite(values[0]):
            return self._undetermined(full, "these rows do not define it")
        normalised = _normalised(values, floors, ceilings, self.subject.direction)
        uncovered = self.sides.covered < MINIMUM_COVERED
        reason = f"only {self.sides.covered:.0%} of its rows have real rows of the same condition" if uncovered else ""
        return Score(
            name=full,
            value=_rounded(values[0]),
            direction=self.subject.direction,
            floor=_first(floors),
            ceiling=_first(ceilings),
            normalised=_first(normalised),
            interval=_interval(values),
            ceiling_interval=_interval(ceilings),
            normalised_interval=_interval(normalised),
            rows=self.sides.rows,
            status="undetermined" if uncovered else "ok",
            reason=reason,
        )

    def _undetermined(self, name: str, reason: str) -> Score:
        rows, direction = self.sides.rows, self.subject.direction
        return Score(name=name, value=None, direction=direction, rows=rows, status="undetermined", reason=reason)


def _normalised(
    values: NDArray[np.float64],
    floors: NDArray[np.float64] | None,
    ceilings: NDArray[np.float64] | None,
    direction: Direction,
) -> NDArray[np.float64] | None:
    """Floor 0, ceiling 1, replicate by replicate; None where real rows score no better than the floor control."""
    if ceilings is None or floors is None:
        return None
    way = ceilings - floors
    if not (way[0] > 0 if direction == "higher" else way[0] < 0):
        return None
    return np.divide(values - floors, way, out=np.full_like(way, np.nan), where=way != 0)


def _samples(pools: Pools) -> pa.Table:
    quotas = [min(SAMPLES_PER_STRATUM, s.rows) if i < SAMPLED_STRATA else 0 for i, s in enumerate(pools.strata)]
    rng = np.random.default_rng(derive(pools.seed, "samples"))
    return draw_rows(pools.candidate, pools.strata, quotas, schema=pools.schema, rng=rng)


def _seed(*parts: object) -> int:
    """31 bits, which every library takes for a seed."""
    return derive(*parts) % 2**31


def _first(values: NDArray[np.float64] | None) -> float | None:
    return None if values is None or not math.isfinite(values[0]) else _rounded(values[0])


def _interval(values: NDArray[np.float64] | None) -> Interval | None:
    interval = None if values is None else around(values[0], values[1:])
    return interval and (_rounded(interval[0]), _rounded(interval[1]))


def _rounded(value: float) -> float:
    """Ten significant digits: more than any score has, and the last bits of a sum stay out of stored results."""
    return float(f"{value:.10g}")
