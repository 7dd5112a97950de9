"""Synthetic and real values of a column as counts, safe to publish: no real value becomes a bin edge or a label on its own account.

Nor is any count of one to four real rows: they are counted in a neighbouring bin, so that no total gives them back.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from synthmill.columns import Column
from synthmill.features import amounts, measurable
from synthmill.ranges import MINIMUM_REAL, apart
from synthmill.scoring.bins import few_values, make_axis, written_alone

LABELS = 20


class Histogram(BaseModel):
    """Counts of one column: `bins[i]` holds `synthetic[i]` and `real[i]` rows, and is written `ticks[i]` where there is little room.

    The real rows of bins with fewer than five of them are counted in another bin.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    column: str
    kind: str
    bins: tuple[str, ...]
    ticks: tuple[str, ...]
    synthetic: tuple[int, ...]
    real: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class _Bin:
    name: str
    tick: str
    synthetic: int
    real: int


def histograms(synthetic: pa.Table, real: pa.Table, columns: Sequence[Column]) -> tuple[Histogram, ...]:
    """One per column that can be counted, in their order; bins that are empty on both sides are left out at the ends."""
    return tuple(_histogram(synthetic[c.name], real[c.name], c) for c in measurable(columns))


def _histogram(synthetic: pa.ChunkedArray, real: pa.ChunkedArray, column: Column) -> Histogram:
    counted = (_labels if column.is_discrete else _bins)(synthetic, real)
    missing = apart("missing", "cells", [one.name for one in counted])
    known, absent = _with_few_elsewhere(counted, _Bin(missing, missing, synthetic.null_count, real.null_count))
    held = [i for i, one in enumerate(known) if one.synthetic or one.real]
    shown = [*(known[held[0] : held[-1] + 1] if held else []), *([absent] if absent.synthetic or absent.real else [])]
    return Histogram(
        column=column.name,
        kind=column.kind,
        bins=tuple(one.name for one in shown),
        ticks=tuple(one.tick for one in shown),
        synthetic=tuple(one.synthetic for one in shown),
        real=tuple(one.real for one in shown),
    )


def _with_few_elsewhere(known: Sequence[_Bin], missing: _Bin) -> tuple[list[_Bin], _Bin]:
    """One to four real rows are counted in the next bin that they fill to five, and the last such rest in the one before."""
    in_order = [missing, *known]
    real = [0] * len(in_order)
    rest, filled = 0, max(range(len(in_order)), key=lambda i: in_order[i].real)
    for i, one in enumerate(in_order):
        rest += one.real
        if rest >= MINIMUM_REAL:
            real[i], rest, filled = rest, 0, i
    real[filled] += rest
    moved = [replace(one, real=count) for one, count in zip(in_order, real, strict=True)]
    return moved[1:], moved[0]


def _bins(synthetic: pa.ChunkedArray, real: pa.ChunkedArray) -> list[_Bin]:
    """Round bins over the range of most synthetic values; what lies outside is counted as below and above."""
    sides = [values[np.isfinite(values)] for values in map(amounts, (synthetic, real))]
    if not len(sides[0]):
        return [_Bin("known", "known", 0, len(sides[1]))]
    few = few_values(sides[0], synthetic.type)
    if len(few):
        return _alone(sides, few)
    axis = make_axis(sides[0], synthetic.type)
    spikes = [[int((values == spike).sum()) for values in sides] for spike in axis.spikes]
    rest = [values[~np.isin(values, axis.spikes)] for values in sides]
    places = [np.searchsorted(axis.edges, values, side="right") for values in rest]  # 0 is below, the last one above
    counts = [np.bincount(place, minlength=len(axis.edges) + 1).tolist() for place in places]
    first, last = axis.starts[0], axis.starts[-1]
    names = [f"below {first}", *axis.names, f"{last} and above"]
    ticks = [f"< {first}", *axis.starts[:-1], f"≥ {last}"]
    bins = [_Bin(*one) for one in zip(names, ticks, *counts, strict=True)]
    single = [_Bin(f"exactly {name}", f"= {name}", *n) for name, n in zip(axis.spike_names, spikes, strict=True)]
    for spike, one in reversed(list(zip(axis.spikes, single, strict=True))):
        bins.insert(int(np.searchsorted(axis.edges, spike, side="right")), one)  # before the bin that it lies in
    return bins


def _alone(sides: Sequence[NDArray[np.float64]], values: NDArray[np.float64]) -> list[_Bin]:
    """A bin for each of the few values, and one for all that real rows hold beside."""
    counts = [[int((side == value).sum()) for side in sides] for value in values]
    beside = int((~np.isin(sides[1], values)).sum())
    return _with_others(written_alone(values), counts, (0, beside))


def _with_others(names: Sequence[str], counts: Sequence[Sequence[int]], others: tuple[int, int]) -> list[_Bin]:
    """A bin for each name, synthetic and real, and one for the others, to which the real rows of names with few go."""
    few = sum(real for _, real in counts if real < MINIMUM_REAL)
    named = [
        _Bin(n, n, left, right if right >= MINIMUM_REAL else 0) for n, (left, right) in zip(names, counts, strict=True)
    ]
    other = apart("other", "labels", names)
    return [*named, _Bin(other, other, others[0], others[1] + few)]


def _labels(synthetic: pa.ChunkedArray, real: pa.ChunkedArray) -> list[_Bin]:
    """The commonest labels, and the others together."""
    left, right = _counts(synthetic), _counts(real)
    named = [label for label in {**left, **right} if label in left or right[label] >= MINIMUM_REAL]
    named = sorted(named, key=lambda label: (-left.get(label, 0) - right.get(label, 0), label))[:LABELS]
    counts = [(left.get(label, 0), right.get(label, 0)) for label in named]
    others = (sum(left.values()) - sum(c[0] for c in counts), sum(right.values()) - sum(c[1] for c in counts))
    return _with_others(named, counts, others)


def _counts(values: pa.ChunkedArray) -> dict[str, int]:
    counted = pc.value_counts(pc.drop_null(values))
    return dict(zip(map(str, counted.field("values").to_pylist()), counted.field("counts").to_pylist(), strict=True))
