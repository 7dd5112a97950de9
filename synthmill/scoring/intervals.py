"""How far a score could have come out otherwise: half-samples of the rows and other seeds.

Let a statistic of n rows have variance v/n. A half-sample without replacement has, given the rows, the variance
v/(n/2) * (1 - (n/2)/n) = v/n: the finite-population correction cancels the smaller sample, so the spread over half-samples estimates
the full sample's standard deviation as it is. This is the delete-d jackknife with d = n/2 (Shao and Tu, "The Jackknife and Bootstrap",
1995, section 2.3) and, in the limit, subsampling (Politis, Romano and Wolf, "Subsampling", 1999). Not the bootstrap: a row
drawn twice would lie on both sides of a detector's folds.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.stats import t as student

from synthmill.evaluator import Interval

CONFIDENCE = 0.95


def half(quotas: Sequence[int], rng: np.random.Generator) -> NDArray[np.int64]:
    """Sorted row numbers of half the rows of each stratum, for tables with `quotas[s]` rows of stratum s one after the other.

    An odd row is in or out by chance, so that a stratum of one row is not always left out.
    """
    starts = np.cumsum([0, *quotas[:-1]])
    sizes = [(quota + int(rng.integers(2))) // 2 for quota in quotas]
    drawn = [
        start + rng.choice(quota, size, replace=False) for start, quota, size in zip(starts, quotas, sizes, strict=True)
    ]
    return np.sort(np.concatenate(drawn)).astype(np.int64)


def around(value: float, replicates: NDArray[np.float64]) -> Interval | None:
    """The interval at 95 % around a full-sample value from its half-sample replicates, by Student's t.

    It is centred on the value, not on the replicates: they are made from fewer rows and can be biased. None where a replicate
    is NaN, and where there are fewer than two.
    """
    if len(replicates) < 2 or not np.isfinite([value, *replicates]).all():
        return None
    quantile = student.ppf((1 + CONFIDENCE) / 2, len(replicates) - 1)
    reach = float(quantile * replicates.std(ddof=1))
    return value - reach, value + reach
