"""A monotone map between a column's numbers and standard normal scores, as smooth as what train says of it.

A map through every quantile of train would repeat train's accidents in whatever is drawn by it: a detector finds them, and they are
traces of rows. So quantiles are taken at few knots, the more the more rows there are, and joined by a monotone cubic (PCHIP: Fritsch
and Carlson, "Monotone piecewise cubic interpolation", 1980). Numbers that far more rows share than their neighbours (round sums, say)
are spikes: there the map is flat, so that each gets its share of scores and every one of these decodes to it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri

_KNOTS, _ROWS_OF_KNOTS = 64, 10_000  # knots at so many rows; with the fifth root of rows, as bandwidths do
_FEWEST_KNOTS, _MOST_KNOTS = 8, 256
_LINES = 8  # straight pieces that stand for the cubic between two knots
_NEIGHBOURS = 3  # numbers a side that say what a number's count would be without a spike
_SURE = 4.0  # standard deviations above it
_LEAST_ROWS, _LEAST_SHARE = 8, 1 / 1024  # of a spike

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class QuantileMap:
    """Both arrays (knots,), ascending; offsets are equal where the map is flat."""

    offsets: Floats
    scores: Floats

    @classmethod
    def fit(cls, offsets: Floats, counts: NDArray[np.int64], unit: float, *, is_exact: bool) -> QuantileMap:
        """Of ascending distinct numbers and how many rows hold each. `unit` is the distance of neighbours on a grid, 0 without one.

        With `is_exact` every number is a spike.
        """
        total = int(counts.sum())
        is_spike = np.ones(len(offsets), dtype=bool) if is_exact else _spikes(offsets, counts, unit)
        smooth, below = _smooth(offsets[~is_spike], counts[~is_spike])
        spikes, shares = offsets[is_spike], np.cumsum(counts[is_spike]) / total
        weight = 1 - (shares[-1] if len(shares) else 0.0)
        steps = np.concatenate([[0.0], shares])
        of_smooth = weight * below + steps[np.searchsorted(spikes, smooth, side="right")]
        beside = weight * np.interp(spikes, smooth, below) if len(smooth) else np.zeros(len(spikes))
        knots = np.concatenate([smooth, spikes, spikes])
        ranks = np.concatenate([of_smooth, beside + steps[:-1], beside + steps[1:]])
        order = np.lexsort((ranks, knots))
        least = 0.5 / total
        return cls(knots[order], ndtri(ranks[order].clip(least, 1 - least)))

    def to_scores(self, offsets: Floats) -> Floats:
        """The middle of the scores of each number; those of the outermost knots beyond them."""
        above = np.interp(offsets, self.offsets, self.scores)
        below = -np.interp(-offsets, -self.offsets[::-1], -self.scores[::-1])
        return np.where(above == below, above, ndtri((ndtr(above) + ndtr(below)) / 2))

    def to_offsets(self, scores: Floats) -> Floats:
        """The number at each score."""
        return np.asarray(np.interp(scores, self.scores, self.offsets))

    @property
    def flats(self) -> tuple[tuple[float, float], ...]:
        """Where the map is flat: the scores of each spike."""
        starts = np.flatnonzero(np.diff(self.offsets) == 0)
        return tuple(zip(self.scores[starts].tolist(), self.scores[starts + 1].tolist(), strict=True))


def _spikes(offsets: Floats, counts: NDArray[np.int64], unit: float) -> NDArray[np.bool_]:
    """Counts that neither their neighbours on the grid nor chance explain."""
    index = np.arange(len(offsets))
    low, high = (index - _NEIGHBOURS).clip(0), (index + _NEIGHBOURS).clip(max=len(offsets) - 1)
    sums = np.concatenate([[0], np.cumsum(counts)])
    others = sums[high + 1] - sums[low] - counts
    with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
        points = (offsets[high] - offsets[low]) / unit if unit else np.full(len(offsets), np.inf)
        expected = others / np.maximum(points, 1.0)
    least = max(_LEAST_ROWS, _LEAST_SHARE * int(counts.sum()))
    return np.asarray((counts >= least) & (counts > expected + _SURE * np.sqrt(expected)))


def _smooth(offsets: Floats, counts: NDArray[np.int64]) -> tuple[Floats, Floats]:
    """Numbers and which share of rows is below each, on a monotone curve."""
    from scipy.interpolate import PchipInterpolator

    total = int(counts.sum())
    if total == 0:
        return offsets, np.empty(0)
    middles = ndtri((np.cumsum(counts) - counts / 2) / total)
    knots = int(np.clip(_KNOTS * (total / _ROWS_OF_KNOTS) ** 0.2, _FEWEST_KNOTS, _MOST_KNOTS))
    if len(offsets) <= knots:
        return offsets, ndtr(middles)
    scores = np.linspace(middles[0], middles[-1], knots + 1)
    numbers = np.interp(scores, middles, offsets)
    is_new = np.concatenate([[True], np.diff(numbers) > 0])
    scores, numbers = scores[is_new], numbers[is_new]
    fine = np.linspace(scores[0], scores[-1], _LINES * knots + 1)
    curve = np.maximum.accumulate(PchipInterpolator(scores, numbers)(fine).clip(numbers[0], numbers[-1]))
    is_new = np.concatenate([[True], np.diff(curve) > 0])
    return curve[is_new], ndtr(fine[is_new])
