"""A column cut into named ranges, the same for both sides, so that counts by range can be shown and released.

No range gives a real row away: labels that only a few real rows show are pooled, and edges are synthetic values or quartiles of
real ones, round where there are not many; no range ends where few real rows do. Who shows counts of real rows by range still
passes them through `released`.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from synthmill.columns import Column
from synthmill.features import amounts, within_calendar

MINIMUM_REAL = 5  # real rows; below it neither a label nor a count is shown
MANY_REAL = 100  # known real rows; the quartiles of fewer are rounded
LABELS = 20
QUANTILES = 200
MERGED = 8  # ranges of an amount that are left of the quantiles
ALIKE = 1e-4  # a split of opinions in 0..1 that lowers their variance by less is none
SPIKE = 0.05  # share of rows from which a single amount is a range of its own

Cells = NDArray[np.float64]


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


def telling_ranges(
    synthetic: pa.ChunkedArray, real: pa.ChunkedArray, column: Column, opinions: tuple[Cells, Cells]
) -> Ranges:
    """Labels, or ranges of an amount in each of which `opinions` are alike: a number by row, synthetic and real.

    An amount that many rows share is a range of its own; edges between the others are synthetic amounts.
    """
    if column.is_discrete:
        return _by_label(synthetic, real)
    sides = amounts(synthetic), amounts(real)
    spikes = np.unique(np.concatenate([_spikes(side) for side in sides]))
    smooth = [np.isfinite(side) & ~np.isin(side, spikes) for side in sides]
    edges = _quantiles(sides[0][smooth[0]])
    values, opinion = (
        np.concatenate([side[chosen] for side, chosen in zip(found, smooth, strict=True)])
        for found in (sides, opinions)
    )
    return _cut(sides, spikes, _merge_alike(edges, values, opinion), synthetic.type)


def groups(synthetic: pa.ChunkedArray, real: pa.ChunkedArray, column: Column) -> Ranges:
    """Ranges that follow the real rows: labels, or the quarters of an amount; one range of all amounts where few are known."""
    if column.is_discrete:
        return _by_label(synthetic, real)
    sides = amounts(synthetic), amounts(real)
    return _cut(sides, np.empty(0), _quartiles(sides[1][np.isfinite(sides[1])]), real.type)


def apart(name: str, what: str, taken: Collection[str]) -> str:
    """`name` for what is pooled, told apart from labels that are called so: `other` or `other labels`."""
    while name in taken:
        name = f"{name} {what}"
    return name


def _by_label(synthetic: pa.ChunkedArray, real: pa.ChunkedArray) -> Ranges:
    """The commonest labels, `other` and `missing`; a label that fewer than five real rows and no synthetic one show is other."""
    left, right = _label_counts(synthetic), _label_counts(real)
    named = [label for label in {**left, **right} if label in left or right[label] >= MINIMUM_REAL]
    named = sorted(named, key=lambda label: (-left.get(label, 0) - right.get(label, 0), str(label)))[:LABELS]
    codes = []
    for side in (synthetic, real):
        found = pc.fill_null(pc.index_in(side, value_set=pa.array(named, side.type)), len(named))
        codes.append(np.where(side.is_null().to_numpy(), len(named) + 1, found.to_numpy()).astype(np.int64))
    names = [str(label) for label in named]
    return Ranges((*names, apart("other", "labels", names), apart("missing", "cells", names)), codes[0], codes[1])


def _label_counts(values: pa.ChunkedArray) -> dict[object, int]:
    counted = pc.value_counts(pc.drop_null(values))
    return dict(zip(counted.field("values").to_pylist(), counted.field("counts").to_pylist(), strict=True))


def _quartiles(known: Cells) -> Cells:
    """Of the known real amounts, as far as each quarter holds rows enough to be shown."""
    if len(known) < 4 * MINIMUM_REAL:
        return np.empty(0)
    quartiles = np.quantile(known, (0.25, 0.5, 0.75))
    edges: list[float] = []
    below = 0  # the last edge
    for edge in np.unique(quartiles if len(known) >= MANY_REAL else _round(quartiles)):
        rows = int((known < edge).sum())
        if rows - below >= MINIMUM_REAL and len(known) - rows >= MINIMUM_REAL:
            edges.append(edge)
            below = rows
    return np.array(edges)


def _round(quartiles: Cells) -> Cells:
    """To the power of ten below half the distance of the outer ones: a quartile of few rows is itself one of their cells."""
    width = float(quartiles[-1] - quartiles[0])
    if not 0 < width < np.inf:
        return np.empty(0)
    step = 10.0 ** np.floor(np.log10(width / 2))
    rounded: Cells = np.round(quartiles / step) * step
    return rounded


def _quantiles(values: Cells) -> Cells:
    """Edges of ranges of equally many values, which are values themselves."""
    if not len(values):
        return np.empty(0)
    lower = np.quantile(values, np.arange(QUANTILES) / QUANTILES, method="lower")
    return np.unique([*lower, np.nextafter(values.max(), np.inf)])  # so that the last range holds the largest


def _merge_alike(edges: Cells, values: Cells, opinion: Cells) -> Cells:
    """The outer edges, and those inner ones at which a regression tree (CART; Breiman et al., 1984) of the opinion splits."""
    from sklearn.tree import DecisionTreeRegressor

    if len(edges) <= MERGED + 1:
        return edges
    ranges = np.searchsorted(edges, values, side="right") - 1
    is_inner = (ranges >= 0) & (ranges < len(edges) - 1)
    found, codes, rows = np.unique(ranges[is_inner], return_inverse=True, return_counts=True)
    means = np.bincount(codes, opinion[is_inner]) / rows
    tree = DecisionTreeRegressor(max_leaf_nodes=MERGED, min_impurity_decrease=ALIKE, random_state=0)
    nodes = tree.fit(found[:, None], means, sample_weight=rows).tree_
    splits = np.ceil(nodes.threshold[nodes.feature >= 0]).astype(np.int64)  # a leaf has no feature: -2
    kept: Cells = edges[np.unique([0, *splits, len(edges) - 1])]
    return kept


def _spikes(values: Cells) -> Cells:
    """Amounts that at least a twentieth of the rows share, and never fewer than five rows."""
    found, counts = np.unique(values[np.isfinite(values)], return_counts=True)
    return found[counts >= max(SPIKE * len(values), MINIMUM_REAL)]


def _cut(sides: tuple[Cells, Cells], spikes: Cells, edges: Cells, dtype: pa.DataType) -> Ranges:
    """Each spike alone, then what is below, between and above the edges, then the missing cells. A range holds its lower edge.

    `other 36 to 54` is that range without the spikes in it.
    """
    codes = []
    for side in sides:
        ranges = len(spikes) + np.searchsorted(edges, side, side="right")
        ranges = np.where(np.isin(side, spikes), np.searchsorted(spikes, side), ranges)
        codes.append(np.where(np.isnan(side), len(spikes) + len(edges) + 1, ranges).astype(np.int64))
    bounds = np.searchsorted(spikes, [-np.inf, *edges, np.inf])
    between = [
        f"other {name}" if holed else name for name, holed in zip(_between(edges, dtype), np.diff(bounds), strict=True)
    ]
    names = (*written(spikes, dtype), *between, "missing")
    return Ranges(names, codes[0], codes[1])


def _between(edges: Cells, dtype: pa.DataType) -> list[str]:
    if not len(edges):
        return ["amounts"]
    whole = pa.types.is_integer(dtype)  # 8 to 10 and 11 to 15, but 0.5 to 1.5 and 1.5 to 2.5
    first = written(np.ceil(edges) if whole else edges, dtype)
    last = written(np.ceil(edges) - 1 if whole else edges, dtype)
    inner = (low if low == high else f"{low} to {high}" for low, high in zip(first[:-1], last[1:], strict=True))
    return [f"below {first[0]}", *inner, f"above {last[-1]}"]


def written(values: Cells, dtype: pa.DataType) -> list[str]:
    """Amounts as a person writes them: four digits, dates to the minute, times of day to the second; years from 1 to 9999."""
    if not pa.types.is_temporal(dtype):
        return [np.format_float_positional(v, precision=4, unique=False, fractional=False, trim="-") for v in values]
    whole = np.round(within_calendar(values, dtype)).astype(np.int64)
    if dtype.bit_width == 32:
        return [str(day) for day in whole.astype("datetime64[D]")]
    moments = pa.array(whole.astype("datetime64[us]"))
    if pa.types.is_timestamp(dtype) and dtype.tz is not None:
        moments = pc.local_timestamp(moments.cast(dtype))
    text = [str(moment).replace("T", " ") for moment in moments.to_numpy(zero_copy_only=False)]
    return [t[11:19] if pa.types.is_time(dtype) else t[:16] for t in text]
