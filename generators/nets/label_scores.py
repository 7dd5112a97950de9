"""Labels as numbers that a tree can split, whatever their count.

Ordered by what they say of the answers: the first principal components of the labels' mean answers (Coppersmith, Hong and Hosking,
"Partitioning nominal attributes in decision trees", 1999), shrunk towards the mean of all rows where a label has few.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_SHRINKAGE = 5.0  # rows
_COMPONENTS = 2
MOST_CLASSES = 64


def label_scores(codes: NDArray[np.int64], size: int, answers: NDArray[np.float64]) -> NDArray[np.float64]:
    """One or two numbers a label, (size, components), for labels `codes` (rows,) and answers (rows, outputs)."""
    if size <= 2:
        return np.arange(size, dtype=np.float64)[:, None]
    rows = np.bincount(codes, minlength=size)
    sums = np.stack([np.bincount(codes, column, size) for column in answers.T], 1)
    profiles = (sums - rows[:, None] * answers.mean(0)) / (rows + _SHRINKAGE)[:, None]
    _, directions = np.linalg.eigh(profiles.T @ (rows[:, None] * profiles))
    return profiles @ directions[:, : -1 - _COMPONENTS : -1]


def classes(codes: NDArray[np.int64], size: int, profile: NDArray[np.float64]) -> NDArray[np.int64]:
    """At most 64 classes of labels, (rows,): those alike in `profile` (rows, outputs) share one."""
    scores = label_scores(codes, size, profile)[codes, 0]
    edges = np.quantile(scores, np.linspace(0, 1, MOST_CLASSES + 1)[1:-1])
    return np.searchsorted(np.unique(edges), scores)
