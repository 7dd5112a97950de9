"""How far two amounts of a column are apart, in units of what train's amounts differ by."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

NOISE = 16  # units in the last place of a column's largest amount; closer ones differ by arithmetic only

Amounts = NDArray[np.float64]  # (rows,), NaN where missing


@dataclass(frozen=True, slots=True)
class Scale:
    """Amounts are counted from `centre` in units of `unit`; both are in quarters of an amount, so that no difference overflows.

    `unit` is 0 where train has one amount alone, or none: such a column tells no train row from another, so nothing in it is far off.
    """

    centre: float
    unit: float

    @classmethod
    def of_range(cls, train: Amounts) -> Scale:
        """From the lowest amount, in ranges."""
        known = quarters(train)
        if is_constant(known):
            return cls(_first(known), 0.0)
        low, high = float(known.min()), float(known.max())
        return cls(low, high - low)

    @classmethod
    def of_deviation(cls, train: Amounts) -> Scale:
        """From the mean, in standard deviations."""
        known = quarters(train)
        if is_constant(known):
            return cls(_first(known), 0.0)
        size = float(np.abs(known).max())
        shares = known / size  # the square of a large amount would overflow
        return cls(float(shares.mean()) * size, float(shares.std()) * size)

    def with_unit(self) -> Scale:
        """The same, but a constant is measured in its own size, at least 1: a rounding weighs nothing, another value does."""
        return self if self.unit else replace(self, unit=max(abs(self.centre), 1 / 4))

    def __call__(self, values: Amounts, furthest: float) -> Amounts:
        """What lies further off than `furthest` units is put there; missing stays NaN. Shape (rows,)."""
        if not self.unit:
            return np.where(np.isnan(values), np.nan, 0.0)
        with np.errstate(over="ignore"):
            return np.clip((values / 4 - self.centre) / self.unit, -furthest, furthest)


def quarters(values: Amounts) -> Amounts:
    """A fourth of each finite amount; the others are left out."""
    return values[np.isfinite(values)] / 4


def is_constant(known: Amounts) -> bool:
    """Do they differ by no more than arithmetic does? The mean of equal numbers often is none of them, and their deviation not 0."""
    return not len(known) or bool(np.ptp(known) <= NOISE * np.spacing(np.abs(known).max()))


def _first(known: Amounts) -> float:
    return float(known[0]) if len(known) else 0.0
