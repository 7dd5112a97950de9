"""One column given others as a few trees: growing them, and drawing cells from their leaves.

Reiter, "Using CART to generate partially synthetic public use microdata" (Journal of Official Statistics 2005), as in synthpop (Nowok,
Raab and Dibben, Journal of Statistical Software 2016). Splits are scikit-learn's; a leaf keeps how often each code is there, and
the scores of its numbers. Each row draws from one of the trees, which is to draw from the mean of all: a forest of conditional
distributions, as in Meinshausen, "Quantile regression forests" (JMLR 2006).
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Self

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from sklearn.tree._tree import Tree

Arrays = dict[str, NDArray[np.generic]]
_REACH = 5  # ranks beyond a leaf's lowest and highest number that its ends may reach


@dataclass(frozen=True, slots=True)
class Cells:
    """Cells of one part: codes and scores, each (rows,). A code from `Target.size` on stands for a shared number."""

    codes: NDArray[np.int64]
    values: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Splits:
    """The inner nodes and leaves of several trees. `feature` is -1 in a leaf, whose number among all leaves is `left`."""

    roots: NDArray[np.int32]  # (trees,)
    feature: NDArray[np.int32]  # (nodes,), as the three below
    threshold: NDArray[np.float64]
    left: NDArray[np.int32]
    right: NDArray[np.int32]

    @classmethod
    def grow(
        cls,
        features: NDArray[np.float32],
        answers: NDArray[np.generic],
        *,
        trees: int,
        share: float,
        leaf: int,
        seed: int,
    ) -> Self:
        """Rows apart by answers: classes (rows,) by entropy, numbers (rows, outputs) by least squares.

        Each tree sees another `share` of the rows, at least `leaf` times `share` of them in a leaf.
        """
        rows, seen = len(features), max(1, round(len(features) * share))
        least = max(1, round(leaf * share))
        grown, nodes, leaves = [], 0, 0
        for random in np.random.default_rng(seed).spawn(trees):
            some = np.sort(random.permutation(rows)[:seen])
            tree = _grow(features[some], answers[some], least, int(random.integers(2**32)))
            is_leaf = tree.children_left < 0
            feature = np.where(is_leaf, -1, tree.feature).astype(np.int32)
            left = np.where(is_leaf, leaves + np.cumsum(is_leaf) - 1, nodes + tree.children_left)
            grown.append((nodes, feature, tree.threshold, left, nodes + tree.children_right))
            nodes, leaves = nodes + len(left), leaves + int(is_leaf.sum())
        roots, *arrays = zip(*grown, strict=True)
        feature, threshold, left, right = (np.concatenate(array) for array in arrays)
        return cls(np.array(roots, np.int32), feature, threshold, left.astype(np.int32), right.astype(np.int32))

    @classmethod
    def none(cls) -> Self:
        """A root that is a leaf."""
        return cls(
            np.zeros(1, np.int32), np.full(1, -1, np.int32), np.zeros(1), np.zeros(1, np.int32), np.zeros(1, np.int32)
        )

    def leaves_of(self, features: NDArray[np.float32], trees: NDArray[np.int64]) -> NDArray[np.int64]:
        """The number of each row's leaf in the tree that `trees` names for it; shape (rows,)."""
        node = self.roots[trees]
        inner = np.flatnonzero(self.feature[node] >= 0)
        while len(inner):
            at = node[inner]
            is_left = features[inner, self.feature[at]] <= self.threshold[at]
            at = np.where(is_left, self.left[at], self.right[at])
            node[inner] = at
            inner = inner[self.feature[at] >= 0]
        return self.left[node].astype(np.int64)


def _grow(features: NDArray[np.float32], answers: NDArray[np.generic], leaf: int, seed: int) -> Tree:
    from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

    if answers.ndim == 1:
        tree = DecisionTreeClassifier(criterion="entropy", min_samples_leaf=leaf, random_state=seed)
    else:
        tree = DecisionTreeRegressor(min_samples_leaf=leaf, random_state=seed)
    return tree.fit(features, answers).tree_


@dataclass(frozen=True, slots=True)
class Leaves:
    """What the leaves hold, one after the other: distinct codes and how often, and scores ascending with an end on either side."""

    starts: NDArray[np.int64]  # (leaves + 1,), into codes and counts
    codes: NDArray[np.int32]
    counts: NDArray[np.float64]
    value_starts: NDArray[np.int64]  # (leaves + 1,), into values
    values: NDArray[np.float64]

    @classmethod
    def fill(cls, leaf_of: NDArray[np.int64], cells: Cells, free: int) -> Self:
        """Count the cells of train by leaf; the scores under the code `free` are kept."""
        leaves, span = int(leaf_of.max()) + 1, int(cells.codes.max()) + 1
        found, counts = np.unique(leaf_of * span + cells.codes, return_counts=True)
        starts = np.searchsorted(found, np.arange(leaves + 1) * span)
        is_free = cells.codes == free
        value_starts, values = _with_ends(leaf_of[is_free], cells.values[is_free], leaves)
        return cls(starts, (found % span).astype(np.int32), counts.astype(np.float64), value_starts, values)

    def heights(self, temperature: float) -> NDArray[np.float64]:
        """The distribution functions of all leaves in one ascending array: leaf number plus cumulative share."""
        leaf_of = np.repeat(np.arange(len(self.starts) - 1), np.diff(self.starts))
        weights = (self.counts / np.maximum.reduceat(self.counts, self.starts[:-1])[leaf_of]) ** (1 / temperature)
        sums = np.concatenate([[0.0], np.cumsum(weights)])
        low, high = sums[self.starts[:-1]], sums[self.starts[1:]]
        shares = (sums[1:] - low[leaf_of]) / (high - low)[leaf_of]
        shares[self.starts[1:] - 1] = 1.0
        return leaf_of + shares

    def entropy(self) -> float:
        """Of the codes given the leaf, in nats a row."""
        rows = np.add.reduceat(self.counts, self.starts[:-1])
        shares = self.counts / np.repeat(rows, np.diff(self.starts))
        return float(-(self.counts @ np.log(shares)) / rows.sum())

    def draw_codes(
        self, leaf_of: NDArray[np.int64], uniforms: NDArray[np.float64], heights: NDArray[np.float64]
    ) -> NDArray[np.int64]:
        """A code of each row's leaf; `heights` as the method gives them."""
        found = np.searchsorted(heights, leaf_of + uniforms)
        return self.codes[np.maximum(found, self.starts[leaf_of])].astype(np.int64)  # a sum can round down to the leaf

    def draw_values(
        self, leaf_of: NDArray[np.int64], uniforms: NDArray[np.float64], smoothing: float, temperature: float
    ) -> NDArray[np.float64]:
        """Scores of rows whose code is free: uniform between neighbours by rank, so that no cell of train comes out but by rounding.

        `smoothing` 1 does that, 0 takes the nearer neighbour as it is.
        """
        if not len(leaf_of):
            return np.zeros(0)
        first, last = self.value_starts[leaf_of] + 1, self.value_starts[leaf_of + 1] - 2
        place = 0.5 + (uniforms - 0.5) * temperature
        rank = first - 0.5 + place.clip(0, 1) * (last - first + 1)
        below = np.floor(rank).astype(np.int64)
        low, high = self.values[below], self.values[below + 1]
        between = low + (high - low) * (rank - below)
        nearest = self.values[np.rint(rank).astype(np.int64).clip(first, last)]
        return nearest + smoothing * (between - nearest)


def _with_ends(
    leaf_of: NDArray[np.int64], values: NDArray[np.float64], leaves: int
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Values ascending by leaf; before and after those of each leaf that has any, the number a few ranks further out in the column."""
    order = np.lexsort((values, leaf_of))
    leaf_of, values = leaf_of[order], values[order]
    counts = np.bincount(leaf_of, minlength=leaves)
    has_any = counts > 0
    last = np.cumsum(counts) - 1
    first = last - counts + 1
    known = np.unique(values)
    low, high = values[first[has_any]], values[last[has_any]]
    outer_low = known[(np.searchsorted(known, low) - _REACH).clip(0, None)] if len(known) else low
    outer_high = known[(np.searchsorted(known, high) + _REACH).clip(None, len(known) - 1)] if len(known) else high
    # Where one leaf ends and the next begins, insert keeps this order: the end first.
    places, outer = (
        np.stack(pair, 1).ravel() for pair in ((first[has_any], last[has_any] + 1), (outer_low, outer_high))
    )
    ended = np.insert(values, places, outer)
    return np.concatenate([[0], np.cumsum(counts + 2 * has_any)]), ended


def arrays_of(item: Splits | Leaves, prefix: str) -> Arrays:
    """The fields by name, for safetensors."""
    return {f"{prefix}.{field.name}": getattr(item, field.name) for field in fields(item)}
