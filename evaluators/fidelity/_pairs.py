"""Two tables as integer codes shared by both, and counts of pairs of columns: what trend, mutual information and missing rest on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from synthmill.columns import Column
from synthmill.errors import SourceError
from synthmill.features import amounts, measurable

BINS = 10
LABELS = 100  # the commonest labels of a column; the others count as one, so that no table of counts outgrows memory
SHOWN_PAIRS = 50

Codes = NDArray[np.intp]
Counts = NDArray[np.intp]
Matrix = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Coded:
    """Column c of both tables as `codes[c]` in 0..sizes[c]-1, synthetic rows first; `side` is 0 for them and 1 for the real ones.

    An amount's codes are its bins, a label's its rank; the last code of each column is that of a missing cell.
    """

    codes: tuple[Codes, ...]  # (rows of both tables,) each
    sizes: tuple[int, ...]
    side: Codes

    @property
    def rows(self) -> NDArray[np.intp]:
        """How many rows each side has; shape (2,)."""
        return np.bincount(self.side, minlength=2)

    def counts(self, left: int, right: int) -> Counts:
        """How many rows of each side hold each pair of codes; shape (2, sizes[left], sizes[right])."""
        shape = (2, self.sizes[left], self.sizes[right])
        cells = (self.side * shape[1] + self.codes[left]) * shape[2] + self.codes[right]
        return np.bincount(cells, minlength=shape[0] * shape[1] * shape[2]).reshape(shape)

    def column_counts(self, column: int) -> Counts:
        """How many rows of each side hold each code; shape (2, sizes[column])."""
        shape = (2, self.sizes[column])
        return np.bincount(self.side * shape[1] + self.codes[column], minlength=shape[0] * shape[1]).reshape(shape)


def code_columns(synthetic: pa.Table, real: pa.Table, columns: Sequence[Column]) -> Coded:
    """Both tables coded together, so that neither's range or labels choose the codes alone."""
    coded = [
        (_labels if c.is_discrete else _bins)(pa.chunked_array(synthetic[c.name].chunks + real[c.name].chunks, c.arrow))
        for c in columns
    ]
    side = np.repeat([0, 1], [synthetic.num_rows, real.num_rows]).astype(np.intp)
    return Coded(tuple(codes for codes, _ in coded), tuple(size for _, size in coded), side)


def paired(columns: Sequence[Column], key: str) -> list[Column]:
    """The columns that can be compared in pairs; a SourceError where there is no pair."""
    found = measurable(columns)
    if len(found) < 2:
        raise SourceError(
            f"{len(found)} of the columns can be compared, and a pair takes two: ids, texts and images do not count",
            hint=f"leave {key} out of the recipe",
        )
    return found


def total_variation(counts: Counts) -> float:
    """Half the sum of absolute differences of the two sides' shares, 0..1; `counts` has the sides first."""
    synthetic, real = (side / side.sum() for side in counts)
    return float(np.abs(synthetic - real).sum() / 2)


def each_pair(columns: int) -> Iterator[tuple[int, int]]:
    """Every pair of column numbers once, the smaller first."""
    return ((left, right) for left in range(columns) for right in range(left + 1, columns))


def column_means(values: Matrix) -> NDArray[np.float64]:
    """The mean over each column's pairs of a symmetric matrix (columns, columns); its diagonal is not read."""
    return np.asarray((values.sum(axis=1) - np.diag(values)) / (len(values) - 1))


def worst_pairs(names: Sequence[str], values: Matrix, **others: Matrix) -> pa.Table:
    """The pairs with the lowest values, lowest first: left, right, value, and those of each other matrix by its name."""
    left, right = np.triu_indices(len(names), 1)
    worst = np.argsort(values[left, right], kind="stable")[:SHOWN_PAIRS]
    left, right = left[worst], right[worst]
    numbers = {name: rounded(matrix[left, right]) for name, matrix in {"value": values, **others}.items()}
    ends = {"left": [names[i] for i in left.tolist()], "right": [names[i] for i in right.tolist()]}
    return pa.table({**ends, **numbers})


def rounded(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Six decimals, more than a reader wants: the last bits of a sum stay out of what is released."""
    return np.round(values, 6)


def _bins(cells: pa.ChunkedArray) -> tuple[Codes, int]:
    """Bins (edge, next edge] at the deciles of the known values; a value that fills more than one has a bin of its own."""
    values = amounts(cells)
    is_missing = np.isnan(values)
    known = values[~is_missing]
    if not len(known):
        return np.zeros(len(values), np.intp), 1
    edges, times = np.unique(np.quantile(known, np.arange(1, BINS) / BINS, method="inverted_cdf"), return_counts=True)
    edges = np.union1d(edges, np.nextafter(edges[times > 1], -np.inf))
    missing = len(edges) + 1
    return np.where(is_missing, missing, np.searchsorted(edges, values)), missing + 1


def _labels(cells: pa.ChunkedArray) -> tuple[Codes, int]:
    """The commonest label is 0, and so on; the rare ones share the code after the last that is counted alone."""
    encoded = pc.dictionary_encode(cells).combine_chunks()
    found = np.asarray(pc.fill_null(encoded.indices, len(encoded.dictionary)).to_numpy(), dtype=np.intp)
    times = np.bincount(found, minlength=len(encoded.dictionary) + 1)[:-1]
    rank = np.empty(len(times) + 1, np.intp)
    rank[np.argsort(-times, kind="stable")] = np.arange(len(times))
    missing = min(len(times), LABELS + 1)
    rank = np.minimum(rank, LABELS)
    rank[-1] = missing
    return rank[found], missing + 1
