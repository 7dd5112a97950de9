"""Real rows that answer the same question as the synthetic ones: the same conditions and rules, in the same proportions.

A perfect generator that was asked for balanced labels makes rows that no plain holdout looks like. So every stratum
of the candidate is compared with the real rows that could have been its own. Where strata overlap (one job without a
condition beside one with), a real row is eligible for several of them and is still drawn at most once: twice on one
side, it would lie in two folds of a detector.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from synthmill.columns import Schema
from synthmill.conditions import Condition, meeting
from synthmill.rules import Rules

MINIMUM_STRATUM_ROWS = 20  # with fewer real rows a stratum has no reference of its own
_SLACK = 1e-9  # a row count that came out as 635.9999999 is 636

Eligible = NDArray[np.bool_]
Accepted = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class StratumShare:
    """What one stratum gave to the candidate: `rows` accepted rows of `job`, under `where`, marked `label` in `_stratum`."""

    job: int
    label: str
    where: Mapping[str, Condition]
    rows: int


@dataclass(frozen=True, slots=True)
class Matched:
    """Row numbers of real tables cut to one mixture: each holds `quotas[s]` rows of stratum s, one stratum after the other.

    `covered` is the share of accepted rows whose stratum has references; a stratum without has quota 0.
    """

    numbers: tuple[NDArray[np.int64], ...]
    quotas: tuple[int, ...]
    covered: float


def eligibility(table: pa.Table, strata: Sequence[StratumShare], schema: Schema, rules: Rules) -> Eligible:
    """Which rows could have been made for which stratum: they meet the rules and its conditions; shape (rows, strata)."""
    columns = {column.name: column for column in schema}
    met = rules.met(table).to_numpy()
    return np.stack([met & meeting(table, stratum.where, columns).to_numpy() for stratum in strata], axis=1)


def match(eligible: Sequence[Eligible], accepted: Accepted, *, most: int, rng: np.random.Generator) -> Matched:
    """Draw without replacement, from every table alike, rows of each stratum in proportion to its `accepted` rows (strata,).

    All sides get the same number of rows of each stratum: as many as the scarcest allows, `most` in all.
    """
    is_kept = (np.min([side.sum(axis=0) for side in eligible], axis=0) >= MINIMUM_STRATUM_ROWS) & (accepted > 0)
    kept = np.where(is_kept, accepted, 0)
    if not is_kept.any():
        return Matched((np.empty(0, dtype=np.int64),) * len(eligible), (0,) * len(accepted), 0.0)

    shares = kept / kept.sum()
    rows = min(most, int(kept.sum()), *(_most_rows(side, shares) for side in eligible))
    drawn = [_draw(side, shares * rows, rng) for side in eligible]
    held = [np.array([len(numbers) for numbers in side]) for side in drawn]
    quotas = np.min([kept, *held], axis=0)
    cut = [[rng.permutation(numbers)[:quota] for numbers, quota in zip(side, quotas, strict=True)] for side in drawn]
    return Matched(tuple(map(np.concatenate, cut)), tuple(map(int, quotas)), float(kept.sum() / accepted.sum()))


def _rates(eligible: Eligible, quotas: NDArray[np.float64]) -> NDArray[np.float64]:
    """The chance of an eligible row to be drawn for each stratum, so that a stratum's rows all have the same; shape (strata,)."""
    rates: NDArray[np.float64] = quotas / np.maximum(eligible.sum(axis=0), 1)
    return rates


def _most_rows(eligible: Eligible, shares: NDArray[np.float64]) -> int:
    """The most rows for which no real row is needed twice: the chances of each row, over its strata, sum to at most one."""
    return int(1 / (eligible @ _rates(eligible, shares)).max() + _SLACK)


def _draw(eligible: Eligible, quotas: NDArray[np.float64], rng: np.random.Generator) -> list[NDArray[np.int64]]:
    """Row numbers for each stratum, no row twice; a stratum gets its quota to within a row per cell.

    Rows eligible for the same strata form a cell. A cell in random order is cut into one piece per stratum, at boundaries that
    are rounded with one random offset (systematic sampling: Madow, 1949), so that every eligible row of a stratum is equally likely.
    """
    rates = _rates(eligible, quotas)
    drawn: list[list[NDArray[np.int64]]] = [[] for _ in quotas]
    _, first, cell_of = np.unique(np.packbits(eligible, axis=1), axis=0, return_index=True, return_inverse=True)
    for cell, example in enumerate(first):
        members = rng.permutation(np.flatnonzero(cell_of.ravel() == cell))
        ends = np.floor(np.cumsum(eligible[example] * rates) * len(members) + rng.random() + _SLACK).astype(np.int64)
        for stratum, piece in enumerate(np.split(members, ends)[:-1]):  # the last piece is what nobody drew
            drawn[stratum].append(piece)
    return [np.concatenate(pieces) for pieces in drawn]
