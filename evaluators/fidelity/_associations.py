"""How strongly two columns of one table hang together, as a number that a heat map can show."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from synthmill.features import amounts

Vector = NDArray[np.float64]
Matrix = NDArray[np.float64]

_ROUNDING = 1e-12  # variance that the rounding of sums leaves in an amount of variance 1


def standard_scores(cells: pa.ChunkedArray) -> Vector:
    """An amount with mean 0 and variance 1 over its known cells, all 0 where it never varies; NaN for missing and infinite cells."""
    values = amounts(cells)
    is_known = np.isfinite(values)
    if not is_known.any():
        return np.full(len(values), np.nan)
    # The first value is taken off at once: a time of today leaves no room for its seconds beside the square of its mean.
    # Halves, so that the largest doubles of both signs do not overflow.
    scores = np.where(is_known, values, np.nan) / 2 - values[is_known][0] / 2
    scores /= np.nanmax(np.abs(scores)) or 1.0
    scores -= np.nanmean(scores)
    return np.asarray(scores / (np.nanstd(scores) or 1.0))


def pearson(scores: Matrix) -> Matrix:
    """Pearson's r (1895) of each pair of columns over the rows where both are known; 0 where one of them does not vary there.

    `scores` (rows, columns) are standard scores; the answer is (columns, columns).
    """
    is_known = (~np.isnan(scores)).astype(np.float64)
    z = np.nan_to_num(scores)
    with threadpool_limits(1):  # sums differ in bits between thread counts
        # Of rows, sums and squares, [i, j] is that of column i over the rows where j is known as well.
        rows = np.maximum(is_known.T @ is_known, 1)
        sums, squares, products = z.T @ is_known, (z * z).T @ is_known, z.T @ z
    spread = squares - sums**2 / rows
    varies = spread > _ROUNDING * rows
    scale = np.sqrt(spread * spread.T, out=np.full_like(spread, np.inf), where=varies & varies.T)
    return np.clip((products - sums * sums.T / rows) / scale, -1, 1)


def cramers_v(counts: NDArray[np.intp]) -> float:
    """Cramér's V (1946) of a table of counts: 0 where its rows and columns are independent, 1 where one tells the other.

    0 as well where there is but one label.
    """
    counts = counts[counts.any(axis=1)][:, counts.any(axis=0)]
    labels = min(counts.shape)
    if labels < 2:
        return 0.0
    expected = counts.sum(axis=1, keepdims=True) * counts.sum(axis=0, keepdims=True)
    phi_squared = (counts.astype(np.float64) ** 2 / expected).sum() - 1
    return float(np.sqrt(np.clip(phi_squared / (labels - 1), 0, 1)))


def correlation_ratio(scores: Vector, codes: NDArray[np.intp]) -> float:
    """The root of the share of an amount's variance that lies between labels (Pearson, 1905), over the rows where it is known."""
    is_known = ~np.isnan(scores)
    z, codes = scores[is_known], codes[is_known]
    total = (z * z).sum()  # their mean is 0
    if total == 0:
        return 0.0
    rows = np.maximum(np.bincount(codes), 1)
    between = (np.bincount(codes, weights=z) ** 2 / rows).sum()
    return float(np.sqrt(min(between / total, 1.0)))
