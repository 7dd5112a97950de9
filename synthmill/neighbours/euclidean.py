"""Nearest dense vectors by Euclidean distance: matrix products in single precision, and the last word in double.

|x - y|^2 = |x|^2 + |y|^2 - 2 x.y leaves the work to a matrix product, the fastest thing a processor does, at the price of rounding.
`slack` bounds the rounding, and what the bound leaves open is computed again in double precision.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Literal, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from synthmill.neighbours.best import Indices, Neighbours, Shortlist

Doubles = NDArray[np.float64]
Precision = type[np.float32] | type[np.float64]
Item = TypeVar("Item")

_BLOCK = 512  # vectors a side: a block of distances takes 1 MB, its vectors of 2,048 numbers 4 MB a side
_SPARE = 4  # neighbours kept beyond k, so that the rounding of the last of them seldom matters
_GATHERED = 2**18  # coordinates of pairs taken up at once: 2 MB in double precision


class Vectors(Protocol):
    """Rows of finite float32, (rows, d): an array, or anything that reads the rows it is asked for from elsewhere."""

    @property
    def shape(self) -> tuple[int, ...]:
        """(rows, d)."""

    def __getitem__(self, rows: slice | Indices, /) -> NDArray[np.float32]:
        """Some of the rows."""


@dataclass(frozen=True, slots=True)
class Block:
    """Squared distances of some queries and some points, and the squared norms that their rounding goes with.

    `squares` (queries, points) is overwritten by the next block; `query_norms` (queries,), `point_norms` (points,).
    """

    top: int
    left: int
    squares: NDArray[np.floating]
    query_norms: NDArray[np.floating]
    point_norms: NDArray[np.floating]


def nearest_euclidean(
    queries: Vectors, points: Vectors, k: int, *, exclude: Literal["self"] | None = None, threads: int = 1
) -> Neighbours:
    """The k nearest points of each query, as exact as double precision is. `exclude="self"`: query i never finds point i.

    `threads` make matrix products; they change nothing but time.
    """
    own = None if exclude is None else np.arange(queries.shape[0])
    if points.shape[0] - (own is not None) < k:
        raise ValueError(f"{k} neighbours asked for, and only {points.shape[0]} points to find them among")
    squares, indices, is_certain = _search(queries, points, k, own, np.float32, threads)
    unsure = np.flatnonzero(~is_certain)
    if len(unsure):
        own = None if own is None else own[unsure]
        squares[unsure], indices[unsure], _ = _search(queries[unsure], points, k, own, np.float64, threads)
    return Neighbours(np.sqrt(squares), indices)


def blocks(
    queries: Vectors,
    points: Vectors,
    precision: Precision = np.float32,
    *,
    from_diagonal: bool = False,
    threads: int = 1,
) -> Iterator[Block]:
    """All pairs, block by block, from left to right and then down; without those left of the diagonal where they are its mirror image.

    Each product has one thread: two that wait for each other within one take longer than one alone as soon as a core is busy.
    """
    centre = _centre(points)  # distances do not depend on it, their rounding does

    def places() -> Iterator[tuple[int, int, _Lifted]]:
        for top in range(0, queries.shape[0], _BLOCK):
            x = _Lifted.of(queries[top : top + _BLOCK], centre, precision)
            x.terms[:, :-2] *= -2
            for left in range(top if from_diagonal else 0, points.shape[0], _BLOCK):
                yield top, left, x

    def multiply(place: tuple[int, int, _Lifted]) -> Block:
        top, left, x = place
        y = _Lifted.of(points[left : left + _BLOCK], centre, precision)
        y.terms[:, -2:] = y.terms[:, :-3:-1]  # so that |x|^2 meets 1, and 1 meets |y|^2
        return Block(top, left, x.terms @ y.terms.T, x.norms, y.norms)

    with threadpool_limits(1):
        yield from map(multiply, places()) if threads == 1 else _ahead(multiply, places(), threads)


def pair_squares(queries: Vectors, points: Vectors, i: Indices, j: Indices) -> Doubles:
    """The squared distance of query i[n] and point j[n] for each n, from their differences in double precision."""
    squares = np.empty(len(i))
    step = max(1, _GATHERED // queries.shape[1])
    for start in range(0, len(i), step):
        part = slice(start, start + step)
        apart = queries[i[part]].astype(np.float64) - points[j[part]]
        squares[part] = np.einsum("nd,nd->n", apart, apart)
    return squares


def slack(d: int, precision: Precision) -> float:
    """c such that a square in a block is off by at most c (|x|^2 + |y|^2), with x and y the centred vectors.

    An inner product of length n is off by at most 8 sqrt(n) roundings of the sum of its terms' sizes, but for a chance of 1e-13 (Higham
    and Mary, "A new approach to probabilistic rounding error analysis", SIAM J. Sci. Comput. 2019). There are three, of which the
    largest has terms of 2 (|x|^2 + |y|^2); the 8 are for centring, and for comparing in single precision.
    """
    return float(np.finfo(precision).eps / 2 * (8 * 4 * np.sqrt(d + 2) + 8))


def _search(
    queries: Vectors, points: Vectors, k: int, own: Indices | None, precision: Precision, threads: int
) -> tuple[Doubles, Indices, NDArray[np.bool_]]:
    """Squared distances and indices (queries, k), and whether rounding has surely kept no nearer point off the list."""
    found = points.shape[0] - (own is not None)
    best, norms = Shortlist(queries.shape[0], min(k + _SPARE, found)), np.empty(queries.shape[0])
    is_mirrored = own is not None and queries is points
    for block in blocks(queries, points, precision, from_diagonal=is_mirrored, threads=threads):
        best.admit(block.squares, block.top, block.left, own)
        if is_mirrored and block.left > block.top:
            best.admit(np.ascontiguousarray(block.squares.T), block.left, block.top, own)
        norms[block.top : block.top + _BLOCK] = block.query_norms
    squares, indices = _exactly(queries, points, best.indices)
    # A point off the list has |y| <= |x| + distance, so that its rounding is at most c (3 |x|^2 + 2 distance^2).
    c = slack(queries.shape[1], precision)
    off_the_list = (best.distances[:, -1] - 3 * c * norms) / (1 + 2 * c)
    is_certain = (off_the_list > squares[:, k - 1]) | (best.indices.shape[1] == found)
    return squares[:, :k], indices[:, :k], is_certain


def _exactly(queries: Vectors, points: Vectors, indices: Indices) -> tuple[Doubles, Indices]:
    """The listed points (queries, size) by their exact squares, of equal ones the lower index first."""
    indices = np.sort(indices, axis=1)
    rows = np.repeat(np.arange(len(indices)), indices.shape[1])
    squares = pair_squares(queries, points, rows, indices.ravel()).reshape(indices.shape)
    order = np.argsort(squares, axis=1, kind="stable")
    return np.take_along_axis(squares, order, axis=1), np.take_along_axis(indices, order, axis=1)


def _centre(points: Vectors) -> NDArray[np.float32]:
    rows = points.shape[0]
    total = sum(points[top : top + _BLOCK].sum(axis=0, dtype=np.float64) for top in range(0, rows, _BLOCK))
    return np.asarray(total / rows, dtype=np.float32)


@dataclass(frozen=True, slots=True)
class _Lifted:
    """Vectors from a centre with |x|^2 and 1 behind, `terms` (rows, d + 2), and `norms`, the |x|^2 alone."""

    terms: NDArray[np.floating]
    norms: NDArray[np.floating]

    @classmethod
    def of(cls, vectors: NDArray[np.float32], centre: NDArray[np.float32], precision: Precision) -> _Lifted:
        rows, d = vectors.shape
        terms = np.empty((rows, d + 2), precision)
        centred = np.subtract(vectors, centre, out=terms[:, :d], dtype=precision)
        norms = np.einsum("nd,nd->n", centred, centred)
        terms[:, d], terms[:, d + 1] = norms, 1
        return cls(terms, norms)


def _ahead(work: Callable[[Item], Block], items: Iterable[Item], threads: int) -> Iterator[Block]:
    """The results in order, a few more than are asked for under way."""
    with ThreadPoolExecutor(threads) as pool:
        waiting: deque[Future[Block]] = deque()
        for item in items:
            waiting.append(pool.submit(work, item))
            if len(waiting) > threads:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
