"""Rows as dense vectors, for measures that were made for features of images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from synthmill.columns import Column
from synthmill.features import amounts
from synthmill.neighbours.mixed import comparable
from synthmill.neighbours.scale import Scale

MOST_LABELS = 50  # of a column, the most frequent ones of train; the others share a coordinate
MOST_COORDINATES = 600  # of labels in all, so that a table of many columns has fewer of each
_FURTHEST = 1e4  # standard deviations: further off, single precision would blur the rows that are not


@dataclass(frozen=True, slots=True)
class Embedding:
    """Amounts in standard deviations of train, with a coordinate that is 1 where the cell is missing; labels one-hot.

    So two rows that differ in one label are as far apart as two draws of an amount are in the mean square: both 2. A missing amount is
    the mean of train. An amount that is constant in train is measured in its own size, at least 1. Ids, text and images are left out.
    """

    columns: tuple[_Amount | _Label, ...]

    @classmethod
    def fit(cls, train: pa.Table, columns: Sequence[Column]) -> Embedding:
        """Means, deviations and labels of train. Raises SourceError where no column is left."""
        kept = comparable(columns)
        labels = max(2, min(MOST_LABELS, MOST_COORDINATES // max(1, sum(c.is_discrete for c in kept))))
        return cls(
            tuple(
                _Label.fit(c.name, train[c.name], labels) if c.is_discrete else _Amount.fit(c.name, train[c.name])
                for c in kept
            )
        )

    def __call__(self, table: pa.Table) -> NDArray[np.float32]:
        """Vectors (rows, d)."""
        return np.concatenate([column.coordinates(table[column.name]) for column in self.columns], axis=1)


@dataclass(frozen=True, slots=True)
class _Amount:
    name: str
    scale: Scale

    @classmethod
    def fit(cls, name: str, cells: pa.ChunkedArray) -> _Amount:
        return cls(name, Scale.of_deviation(amounts(cells)).with_unit())

    def coordinates(self, cells: pa.ChunkedArray) -> NDArray[np.float32]:
        scaled = self.scale(amounts(cells), _FURTHEST)
        is_missing = np.isnan(scaled)
        return np.stack([np.where(is_missing, 0, scaled), is_missing], axis=1).astype(np.float32)


@dataclass(frozen=True, slots=True)
class _Label:
    name: str
    values: pa.Array

    @classmethod
    def fit(cls, name: str, cells: pa.ChunkedArray, most: int) -> _Label:
        counted = pa.table({"label": cells}).group_by("label").aggregate([("label", "count")])
        ordered = counted.sort_by([("label_count", "descending"), ("label", "ascending")])
        return cls(name, pc.drop_null(ordered["label"]).slice(0, most).combine_chunks())

    def coordinates(self, cells: pa.ChunkedArray) -> NDArray[np.float32]:
        """One for each known label, then one for all other labels and one for missing cells."""
        other, missing = len(self.values), len(self.values) + 1
        places = pc.fill_null(pc.index_in(cells, value_set=self.values), other)
        places = pc.if_else(pc.is_null(cells), missing, places).to_numpy()
        one_hot = np.zeros((len(cells), missing + 1), np.float32)
        one_hot[np.arange(len(cells)), places] = 1
        return one_hot
