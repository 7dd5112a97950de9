"""What is found, and the best found so far while block after block comes in."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Indices = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Neighbours:
    """For each query its nearest points, nearest first; of equally near ones the lower index first.

    `distances` (queries, k) float64; `indices` (queries, k) int64 into the points.
    """

    distances: NDArray[np.float64]
    indices: Indices


class Shortlist:
    """The `size` nearest points of each query among the blocks seen: `distances` ascending and `indices`, both (queries, size)."""

    def __init__(self, queries: int, size: int) -> None:
        self.distances = np.full((queries, size), np.inf)
        self.indices = np.zeros((queries, size), np.int64)

    def admit(self, block: NDArray[np.floating], top: int, left: int, own: Indices | None = None) -> None:
        """Let in what is near enough of the distances (queries, points) of a block that begins at query `top` and point `left`.

        Blocks come from left to right, so that among equals the first stays. `own[i]` is the point that query i must not find; the
        block is overwritten there.
        """
        if own is not None:
            column = own[top : top + len(block)] - left
            met = np.flatnonzero((column >= 0) & (column < block.shape[1]))
            block[met, column[met]] = np.inf
        nearer = np.flatnonzero(block.min(axis=1) < self.distances[top : top + len(block), -1])
        if len(nearer):
            self._merge(top + nearer, *_smallest(block[nearer], self.distances.shape[1]), left)

    def _merge(self, rows: Indices, near: NDArray[np.float64], columns: Indices, left: int) -> None:
        distances = np.concatenate([self.distances[rows], near], axis=1)
        indices = np.concatenate([self.indices[rows], left + columns], axis=1)
        order = np.argsort(distances, axis=1, kind="stable")[:, : self.distances.shape[1]]
        self.distances[rows] = np.take_along_axis(distances, order, axis=1)
        self.indices[rows] = np.take_along_axis(indices, order, axis=1)


def _smallest(block: NDArray[np.floating], k: int) -> tuple[NDArray[np.float64], Indices]:
    """The k smallest of each row and where they stand, by k searches for the least, which are quicker than one partition. Overwrites."""
    every, values, places = np.arange(len(block)), [], []
    for _ in range(min(k, block.shape[1])):
        column = block.argmin(axis=1)
        values.append(block[every, column].astype(np.float64))
        places.append(column)
        block[every, column] = np.inf
    return np.stack(values, axis=1), np.stack(places, axis=1)
