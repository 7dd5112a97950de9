"""Kits: all that actors need to make the shards of a job, gathered once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from synthmill.columns import Schema
from synthmill.conditions import Condition, meeting
from synthmill.filters import hashes_of
from synthmill.plan import JobPlan
from synthmill.privacy import stated_cells
from synthmill.seeds import uniforms

GIVEN_STEP = 2**32 - 1  # the step of the uniform that draws given values; generators count theirs from 0


@dataclass(frozen=True, slots=True)
class StratumKit:
    """One stratum as an actor needs it: its key, its conditions, and the train values that leave a choice."""

    fingerprint: str
    staging: str
    where: Mapping[str, Condition]
    given: pa.Table  # distinct values of the exact condition columns in matching train rows
    weights: NDArray[np.float64]  # how often each occurs


@dataclass(frozen=True, slots=True)
class Kit:
    """All that makes shards of one job: goes to the actors once, through the object store."""

    job: JobPlan
    files: Mapping[str, bytes]
    strata: tuple[StratumKit, ...]
    source: Schema
    rules: tuple[str, ...]
    reject_copies: bool
    train_hashes: pa.Array  # fixed_size_binary(16)
    device: str
    context: tuple[str, ...] = ()  # the columns of slots: given, and neither made nor compared
    attempts: int = 1  # at each slot


def make_kit(
    job: JobPlan,
    files: Mapping[str, bytes],
    source: Schema,
    train: pa.Table,
    *,
    rules: tuple[str, ...],
    reject_copies: bool,
    device: str,
    context: tuple[str, ...] = (),
    attempts: int = 1,
) -> Kit:
    """Gather what the actors of a job need; real values leave here only for actors, never for a release."""
    columns = {name: source[name] for stratum in job.strata for name in stratum.where}
    strata = []
    for stratum in job.strata:
        exact = [name for name in stratum.where if name in job.exact]
        if job.is_private:
            given, weights = stated_cells(stratum.where, source, exact), np.ones(min(1, len(exact)))
        else:
            given, weights = _distinct(train.filter(meeting(train, stratum.where, columns)).select(exact), exact)
        strata.append(StratumKit(stratum.fingerprint, stratum.staging, stratum.where, given, weights))
    hashes = pc.unique(hashes_of(train, source, context))
    return Kit(job, files, tuple(strata), source, rules, reject_copies, hashes, device, context, attempts)


def _distinct(table: pa.Table, names: list[str]) -> tuple[pa.Table, NDArray[np.float64]]:
    """Distinct rows in sorted order with their shares; no columns, no rows."""
    if not names:
        return table, np.zeros(0)
    grouped = (
        table.append_column("", pa.nulls(table.num_rows, pa.int8()))
        .group_by(names)
        .aggregate([("", "count", pc.CountOptions(mode="all"))])
    )
    counted = grouped.sort_by([(name, "ascending") for name in names])
    counts = counted["_count"].to_numpy().astype(np.float64)
    return counted.select(names), counts / counts.sum()


def draw_given(stratum: StratumKit, candidates: NDArray[np.int64], key: int) -> pa.Table:
    """One row of given values per candidate, drawn from matching train rows by one uniform each."""
    if stratum.given.num_columns == 0:
        return stratum.given
    draws = uniforms(key, candidates, GIVEN_STEP, 1)[:, 0]
    rows = np.searchsorted(np.cumsum(stratum.weights), draws, side="right")
    return stratum.given.take(pa.array(np.minimum(rows, len(stratum.weights) - 1)))
