"""The interval of a share of rows, in closed form."""

from __future__ import annotations

from synthmill.evaluator import Interval


def wilson(rows: int, of: int) -> Interval:
    """The 95 % interval of the share `rows` / `of`: the score interval of Wilson ("Probable inference", JASA 1927).

    It keeps a width where no row or every row counts: 0 of n reaches up to 3.84 / (n + 3.84), close to the rule of three. Of no
    rows at all nothing is known: (0, 1). ValueError unless 0 <= rows <= of.
    """
    from scipy.stats import binomtest

    if of == 0 and rows == 0:
        return 0.0, 1.0
    interval = binomtest(rows, of).proportion_ci(0.95, method="wilson")
    return float(interval.low), float(interval.high)
