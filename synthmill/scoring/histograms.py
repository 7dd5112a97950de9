"""Synthetic and real values of a column as counts, safe to publish: no real value becomes a bin edge or a label on its own account."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from synthmill.columns import Column
from synthmill.features import amounts, measurable

BINS = 20
LABELS = 20
MINIMUM_REAL = 5  # a label that only real rows show is named from here on


class Histogram(BaseModel):
    """Counts of one column: `bins[i]` holds `synthetic[i]` and `real[i]` rows."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    column: str
    kind: str
    bins: tuple[str, ...]
    synthetic: tuple[int, ...]
    real: tuple[int, ...]


def histograms(synthetic: pa.Table, real: pa.Table, columns: Sequence[Column]) -> tuple[Histogram, ...]:
    """One per column that can be counted, in their order; empty bins at the ends and absent cells are left out."""
    return tuple(_histogram(synthetic[c.name], real[c.name], c) for c in measurable(columns))


def _histogram(synthetic: pa.ChunkedArray, real: pa.ChunkedArray, column: Column) -> Histogram:
    names, counts = (_labels if column.is_discrete else _bins)(synthetic, real)
    missing = (synthetic.null_count, real.null_count)
    rows = [(name, *count) for name, count in zip([*names, "missing"], [*counts, missing], strict=True)]
    shown = [row for row in rows if row[1] or row[2]]
    bins, left, right = zip(*shown, strict=True) if shown else ((), (), ())
    return Histogram(column=column.name, kind=column.kind, bins=bins, synthetic=left, real=right)


def _bins(synthetic: pa.ChunkedArray, real: pa.ChunkedArray) -> tuple[list[str], list[tuple[int, int]]]:
    """Equal bins over the range of the synthetic values; real values outside are counted as below and above."""
    known = [values[np.isfinite(values)] for values in map(amounts, (synthetic, real))]
    if not len(known[0]):
        return ["known"], [(0, len(known[1]))]
    edges = np.unique(np.linspace(known[0].min(), known[0].max(), BINS + 1))
    if len(edges) == 1:
        edges = np.repeat(edges, 2)
    inner = [np.histogram(values, edges)[0] for values in known]
    below = (0, int((known[1] < edges[0]).sum()))
    above = (0, int((known[1] > edges[-1]).sum()))
    shown = _written(edges, synthetic.type)
    names = [
        f"below {shown[0]}",
        *(f"{low} to {high}" for low, high in pairwise(shown)),
        f"above {shown[-1]}",
    ]
    return names, [below, *((int(s), int(r)) for s, r in zip(*inner, strict=True)), above]


def _written(edges: NDArray[np.float64], dtype: pa.DataType) -> list[str]:
    if not pa.types.is_temporal(dtype):
        return [f"{edge:.4g}" for edge in edges]
    whole = pa.array(np.round(edges).astype(np.int64))
    dated = whole.cast(pa.int32()) if dtype.bit_width == 32 else whole
    return [str(value)[:16] for value in dated.cast(dtype).to_pylist()]


def _labels(synthetic: pa.ChunkedArray, real: pa.ChunkedArray) -> tuple[list[str], list[tuple[int, int]]]:
    """The commonest labels, and the others together."""
    left, right = _counts(synthetic), _counts(real)
    named = [label for label in {**left, **right} if label in left or right[label] >= MINIMUM_REAL]
    named = sorted(named, key=lambda label: (-left.get(label, 0) - right.get(label, 0), label))[:LABELS]
    counts = [(left.get(label, 0), right.get(label, 0)) for label in named]
    others = (sum(left.values()) - sum(c[0] for c in counts), sum(right.values()) - sum(c[1] for c in counts))
    return [*named, "other"], [*counts, others]


def _counts(values: pa.ChunkedArray) -> dict[str, int]:
    counted = pc.value_counts(pc.drop_null(values))
    return dict(zip(map(str, counted.field("values").to_pylist()), counted.field("counts").to_pylist(), strict=True))
