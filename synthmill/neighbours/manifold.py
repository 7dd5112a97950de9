"""How much two clouds of vectors overlap, each taken as the spheres that reach from its vectors to their k-th nearest neighbours."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from synthmill.neighbours.best import Indices
from synthmill.neighbours.euclidean import Block, Doubles, Vectors, blocks, nearest_euclidean, pair_squares, slack

_FEW = 1 / 50  # of the pairs of a block: more cost less as one matrix product in double precision


@dataclass(frozen=True, slots=True)
class Overlap:
    """What each vector meets of the other cloud's spheres, and the four shares made of it, in [0, 1] but for density."""

    k: int
    is_covered: NDArray[np.bool_]  # (real rows,) some fake vector is inside its sphere
    is_recalled: NDArray[np.bool_]  # (real rows,) it is inside some fake sphere
    spheres_around: Indices  # (fake rows,) the number of real spheres that it is inside

    @property
    def precision(self) -> float:
        """The share of fake vectors inside some real sphere (Kynkäänniemi et al., 2019)."""
        return float((self.spheres_around > 0).mean())

    @property
    def recall(self) -> float:
        """The share of real vectors inside some fake sphere (Kynkäänniemi et al., 2019)."""
        return float(self.is_recalled.mean())

    @property
    def density(self) -> float:
        """How many real spheres a fake vector is inside, over k; no upper end (Naeem et al., 2020)."""
        return float(self.spheres_around.mean() / self.k)

    @property
    def coverage(self) -> float:
        """The share of real spheres with a fake vector inside (Naeem et al., 2020)."""
        return float(self.is_covered.mean())


def prdc(real: Vectors, fake: Vectors, k: int, *, threads: int = 1) -> Overlap:
    """Precision, recall, density and coverage of `fake` (rows, d) against `real` (rows, d).

    Kynkäänniemi et al., "Improved precision and recall metric for assessing generative models" (NeurIPS 2019); Naeem et al., "Reliable
    fidelity and diversity metrics for generative models" (ICML 2020). A vector on a sphere is not inside. Distances are compared in
    single precision, as the latter's package prdc compares those of float32.
    """
    real_squares, fake_squares = (
        nearest_euclidean(side, side, k, exclude="self", threads=threads).distances[:, -1] ** 2 for side in (real, fake)
    )
    is_covered, is_recalled = np.zeros((2, real.shape[0]), np.bool_)
    found = Overlap(k, is_covered, is_recalled, np.zeros(fake.shape[0], np.int64))
    for block in blocks(real, fake, threads=threads):
        pairs = _Pairs(block, real, fake)
        inside = pairs.within(real_squares[pairs.rows, None], block.query_norms[:, None])
        found.is_covered[pairs.rows] |= inside.any(axis=1)
        found.spheres_around[pairs.columns] += np.count_nonzero(inside, axis=0)
        inside = pairs.within(fake_squares[None, pairs.columns], block.point_norms[None])
        found.is_recalled[pairs.rows] |= inside.any(axis=1)
    return found


@dataclass(frozen=True, slots=True)
class _Pairs:
    """The pairs of a block, and the vectors that they are pairs of."""

    block: Block
    real: Vectors
    fake: Vectors

    @property
    def rows(self) -> slice:
        return slice(self.block.top, self.block.top + self.block.squares.shape[0])

    @property
    def columns(self) -> slice:
        return slice(self.block.left, self.block.left + self.block.squares.shape[1])

    def within(self, radii: Doubles, norms: NDArray[np.floating]) -> NDArray[np.bool_]:
        """Is the distance less than the radius? Squared radii and the norms of their centres broadcast to the block."""
        squares = self.block.squares
        c = slack(self.real.shape[1], np.float32)
        unsure = 2 * c * radii + 3 * c * norms  # |y| <= |x| + radius for whatever lies on the sphere around x
        inside = squares < (radii - unsure).astype(np.float32)
        is_open = inside != (squares < (radii + unsure).astype(np.float32))
        i, j = np.divmod(np.flatnonzero(is_open), squares.shape[1])
        if len(i):
            on_sphere = np.broadcast_to(radii, squares.shape)[i, j]
            inside[i, j] = _single(self._exact(i, j)) < _single(on_sphere)
        return inside

    def _exact(self, i: Indices, j: Indices) -> NDArray[np.floating]:
        if len(i) <= _FEW * self.block.squares.size:
            return pair_squares(self.real, self.fake, i + self.block.top, j + self.block.left)
        [block] = blocks(self.real[self.rows], self.fake[self.columns], np.float64)
        return block.squares[i, j].clip(0)


def _single(squares: NDArray[np.floating]) -> NDArray[np.float32]:
    return np.sqrt(squares.astype(np.float32))
