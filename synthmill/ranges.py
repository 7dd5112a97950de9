"""A column cut into named ranges, the same for both sides, so that counts by range can be shown and released.

No range gives a real row away: labels that only a few real rows show are pooled, and edges are synthetic values or quantiles of
many rows. Who shows counts of real rows by range still passes them through `released`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from synthmill.columns import Column
from synthmill.features import amounts

MINIMUM_REAL = 5  # real rows; below it neither a label nor a count is shown
LABELS = 20
QUANTILES = 8
SPIKE = 0.05  # share of rows from which a single amount is a range of its own


@dataclass(frozen=True, slots=True)
class Ranges:
    """`synthetic` and `real` hold each row's range, as an index of `names`; shape (rows,)."""

    names: tuple[str, ...]
    synthetic: NDArray[np.int64]
    real: NDArray[np.int64]

    def counts(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Rows by range: synthetic and real, each (ranges,)."""
        left, right = (np.bincount(side, minlength=len(self.names)) for side in (self.synthetic, self.real))
        return left, right


def released(counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """Counts of real rows as they may be shown: fewer than five are given as none."""
    return np.where(counts < MINIMUM_REAL, 0, counts)


def telling_ranges(synthetic: pa.ChunkedArray, real: pa.ChunkedArray, column: Column) -> Ranges:
    """Ranges that follow the synthetic rows: its labels, or amounts that many rows share and quantiles of the others."""
    return _by_label(synthetic, real) if column.is_discrete else _by_amount(synthetic, real)


def groups(synthetic: pa.ChunkedArray, real: pa.ChunkedArray, column: Column) -> Ranges:
    """Ranges that follow the real rows: labels, or the quarters of an amount. Quartiles are decided by many rows."""
    if column.is_discrete:
        return _by_label(synthetic, real)
    sides = amounts(synthetic), amounts(real)
    known = sides[1][np.isfinite(sides[1])]
    edges = np.unique(np.quantile(known, (0.25, 0.5, 0.75))) if len(known) else np.empty(0)
    return _cut(sides, np.empty(0), edges, real.type)


def _by_label(synthetic: pa.ChunkedArray, real: pa.ChunkedArray) -> Ranges:
    """The commonest labels, `other` and `missing`; a label that fewer than five real rows and no synthetic one show is other."""
    left, right = _label_counts(synthetic), _label_counts(real)
    named = [label for label in {**left, **right} if label in left or right[label] >= MINIMUM_REAL]
    named = sorted(named, key=lambda label: (-left.get(label, 0) - right.get(label, 0), str(label)))[:LABELS]
    codes = []
    for side in (synthetic, real):
        found = pc.fill_null(pc.index_in(side, value_set=pa.array(named, side.type)), len(named))
        codes.append(np.where(side.is_null().to_numpy(), len(named) + 1, found.to_numpy()).astype(np.int64))
    return Ranges((*map(str, named), "other", "missing"), codes[0], codes[1])


def _label_counts(values: pa.ChunkedArray) -> dict[object, int]:
    counted = pc.value_counts(pc.drop_null(values))
    return dict(zip(counted.field("values").to_pylist(), counted.field("counts").to_pylist(), strict=True))


def _by_amount(synthetic: pa.ChunkedArray, real: pa.ChunkedArray) -> Ranges:
    sides = amounts(synthetic), amounts(real)
    spikes = np.unique(np.concatenate([_spikes(side) for side in sides]))
    smooth = sides[0][np.isfinite(sides[0]) & ~np.isin(sides[0], spikes)]
    edges = np.empty(0)
    if len(smooth):
        lower = np.quantile(smooth, np.arange(QUANTILES) / QUANTILES, method="lower")
        edges = np.unique([*lower, np.nextafter(smooth.max(), np.inf)])  # so that the last range holds the largest
    return _cut(sides, spikes, edges, synthetic.type)


def _spikes(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Amounts that at least a twentieth of the rows share, and never fewer than five rows."""
    found, counts = np.unique(values[np.isfinite(values)], return_counts=True)
    return found[counts >= max(SPIKE * len(values), MINIMUM_REAL)]


def _cut(
    sides: tuple[NDArray[np.float64], NDArray[np.float64]],
    spikes: NDArray[np.float64],
    edges: NDArray[np.float64],
    dtype: pa.DataType,
) -> Ranges:
    """Each spike alone, then what is below, between and above the edges, then the missing cells. A range holds its lower edge."""
    codes = []
    for side in sides:
        ranges = len(spikes) + np.searchsorted(edges, side, side="right")
        ranges = np.where(np.isin(side, spikes), np.searchsorted(spikes, side), ranges)
        codes.append(np.where(np.isnan(side), len(spikes) + len(edges) + 1, ranges).astype(np.int64))
    names = (*written(spikes, dtype), *_between(written(edges, dtype)), "missing")
    return Ranges(names, codes[0], codes[1])


def _between(edges: Sequence[str]) -> list[str]:
    if not edges:
        return ["other"]
    inner = (low if low == high else f"{low} to {high}" for low, high in pairwise(edges))
    return [f"below {edges[0]}", *inner, f"above {edges[-1]}"]


def written(amounts: NDArray[np.float64], dtype: pa.DataType) -> list[str]:
    """Amounts as a person writes them: four digits, dates and times to the minute."""
    if not pa.types.is_temporal(dtype):
        return [f"{amount:.4g}" for amount in amounts]
    whole = pa.array(np.round(amounts).astype(np.int64))
    dated = whole.cast(pa.int32()) if dtype.bit_width == 32 else whole
    return [str(value)[:16] for value in dated.cast(dtype).to_pylist()]
