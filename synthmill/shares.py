"""Intervals of shares of rows, in closed form."""

from __future__ import annotations

import math

from synthmill.evaluator import Interval


def wilson(rows: int, of: int, *, confidence: float = 0.95) -> Interval:
    """The interval of the share `rows` / `of`: the score interval of Wilson ("Probable inference", JASA 1927).

    It keeps a width where no row or every row counts: at 95 % 0 of n reaches up to 3.84 / (n + 3.84), close to the rule of three. Of no
    rows at all nothing is known: (0, 1). ValueError unless 0 <= rows <= of.
    """
    from scipy.stats import binomtest

    if of == 0 and rows == 0:
        return 0.0, 1.0
    interval = binomtest(rows, of).proportion_ci(confidence, method="wilson")
    return float(interval.low), float(interval.high)


def newcombe(rows: int, of: int, less: int, less_of: int, *, confidence: float = 0.95) -> Interval:
    """The interval of `rows` / `of` - `less` / `less_of`, two shares of different rows; both of at least one row.

    Method 10 of Newcombe ("Interval estimation for the difference between independent proportions", Statistics in Medicine 1998): the
    reaches of two Wilson intervals, added in squares.
    """
    share, less_share = rows / of, less / less_of
    low, high = wilson(rows, of, confidence=confidence)
    less_low, less_high = wilson(less, less_of, confidence=confidence)
    value = share - less_share
    return value - math.hypot(share - low, less_high - less_share), value + math.hypot(
        high - share, less_share - less_low
    )


def wilson_share(share: float, rows: float) -> Interval:
    """Wilson's interval at 95 % of a share among `rows` that need not be whole: the effective number of dependent ones."""
    from scipy.special import ndtri

    z2 = float(ndtri(0.975)) ** 2
    centre = (share + z2 / (2 * rows)) / (1 + z2 / rows)
    reach = math.sqrt(z2 * share * (1 - share) / rows + (z2 / (2 * rows)) ** 2) / (1 + z2 / rows)
    return centre - reach, centre + reach
