"""How a source changed between two snapshots, for the report of a model that goes on from an earlier one."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
from pydantic import BaseModel, ConfigDict

from synthmill.columns import Column
from synthmill.features import measurable
from synthmill.plan import SourcePlan
from synthmill.rows import row_hashes
from synthmill.shapes import distance, label_shares
from synthmill.store.snapshot import read_whole_snapshot
from synthmill.store.state import State


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ColumnDrift(_Frozen):
    """One column then and now: the distance of its shapes, 0..1; the mean distance of two samples of one population; missing shares."""

    column: str
    kind: str
    distance: float
    by_chance: float
    missing_then: float
    missing_now: float


class Drift(_Frozen):
    """Two snapshots, all parts together. `stayed` rows are in both, counted as often as in the one that has them less often."""

    rows_then: int
    rows_now: int
    stayed: int
    columns: tuple[ColumnDrift, ...]  # the most changed first


def find_drift(state: State, before: str, now: SourcePlan) -> Drift:
    """From the snapshot `before`, which an earlier model was fitted on, to that of now; of the columns that both have."""
    then_rows, now_rows = (read_whole_snapshot(state.source(source)) for source in (before, now.fingerprint))
    shared = [c for c in now.schema_ if c.name in then_rows.column_names and then_rows.field(c.name).type == c.arrow]
    drifts = [_column_drift(then_rows[c.name], now_rows[c.name], c) for c in measurable(shared)]
    return Drift(
        rows_then=then_rows.num_rows,
        rows_now=now_rows.num_rows,
        stayed=_in_both(then_rows, now_rows, [c.name for c in shared]),
        columns=tuple(sorted(drifts, key=lambda one: (-one.distance, one.column))),
    )


def _column_drift(then: pa.ChunkedArray, now: pa.ChunkedArray, column: Column) -> ColumnDrift:
    return ColumnDrift(
        column=column.name,
        kind=column.kind,
        distance=round(distance(then, now, column), 6),
        by_chance=round(min(1.0, _by_chance(then, now, column)), 6),
        missing_then=round(then.null_count / len(then), 6),
        missing_now=round(now.null_count / len(now), 6),
    )


def _by_chance(then: pa.ChunkedArray, now: pa.ChunkedArray, column: Column) -> float:
    """The mean of Kolmogorov's distribution for amounts; for labels half the sum of the means of |normal|, as shares nearly are."""
    noise = math.sqrt(1 / len(then) + 1 / len(now))
    if not column.is_discrete:
        return math.sqrt(math.pi / 2) * math.log(2) * noise
    shares = label_shares(pa.chunked_array([*then.chunks, *now.chunks])).values()
    return 0.5 * sum(math.sqrt(2 / math.pi * share * (1 - share)) * noise for share in shares)


def _in_both(left: pa.Table, right: pa.Table, columns: Sequence[str]) -> int:
    """The size of the intersection of two multisets of rows."""
    (rows, counts), (others, other_counts) = (
        np.unique(row_hashes(side, columns), axis=0, return_counts=True) for side in (left, right)
    )
    _, group = np.unique(np.concatenate([rows, others]), axis=0, return_inverse=True)
    of_left, of_right = (np.zeros(group.max(initial=-1) + 1, np.int64) for _ in range(2))
    of_left[group[: len(rows)]], of_right[group[len(rows) :]] = counts, other_counts
    return int(np.minimum(of_left, of_right).sum())
