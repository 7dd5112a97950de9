"""How far apart two samples of one column are: the statistics behind fidelity/shape and the drift of a source."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from synthmill.columns import Column
from synthmill.features import amounts


def distance(left: pa.ChunkedArray, right: pa.ChunkedArray, column: Column) -> float:
    """KS of amounts, dates and times, TVD of labels: 0 the same shape, 1 no value in common.

    KS is the two-sample statistic of Kolmogorov and Smirnov (1939), TVD half the sum of absolute differences of shares. A missing
    cell counts as a value of its own: the lowest amount, or one more label.
    """
    if column.is_discrete:
        return total_variation(left, right)
    sides = (np.nan_to_num(amounts(side), nan=-np.inf, posinf=np.inf, neginf=-np.inf) for side in (left, right))
    return kolmogorov_smirnov(*sides)


def kolmogorov_smirnov(x: NDArray[np.float64], y: NDArray[np.float64]) -> float:
    """The largest distance between the two empirical distribution functions, 0..1."""
    points = np.concatenate([x, y])
    below_x = np.searchsorted(np.sort(x), points, side="right") / len(x)
    below_y = np.searchsorted(np.sort(y), points, side="right") / len(y)
    return float(np.abs(below_x - below_y).max())


def total_variation(x: pa.ChunkedArray, y: pa.ChunkedArray) -> float:
    """Half the sum of absolute differences of the labels' shares, 0..1; missing is a label."""
    x_shares, y_shares = label_shares(x), label_shares(y)
    labels = sorted({*x_shares, *y_shares}, key=repr)  # a fixed order of summing: the same bits again
    return 0.5 * sum(abs(x_shares.get(label, 0.0) - y_shares.get(label, 0.0)) for label in labels)


def label_shares(values: pa.ChunkedArray) -> dict[object, float]:
    """The share of each label, and of missing."""
    counts = pc.value_counts(values)
    labels, sizes = counts.field("values").to_pylist(), counts.field("counts").to_pylist()
    return {label: size / len(values) for label, size in zip(labels, sizes, strict=True)}
