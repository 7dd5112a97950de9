"""Does what decides another column in train decide it here too?"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from evaluators.validity._checks import Broken, as_mask, sound_share
from synthmill.columns import Modality, Schema
from synthmill.evaluator import Against, Direction, Evaluator, Measured, Measurement, References
from synthmill.features import measurable

ROWS_A_VALUE = 5  # train rows a value of the determinant, on average; with fewer, rows that stand twice look like a law
SURPRISE = 20.0  # rows that would break it, were the columns independent: chance keeps it in e^-20 of tables
SCREENED_ROWS = 2_000  # most pairs break within so many rows, and are found at once

Codes = NDArray[np.int32]  # (rows,): the place of a cell among the column's values, -1 where it is missing


class Dependencies(Evaluator):
    """The share of rows that keep every functional dependency found in train: 1 is all of them.

    A column decides another (Codd, "A relational model of data for large shared data banks", CACM 1970) when no two rows agree in the
    first and differ in the second. Found are those between two columns that hold in every train row and not by chance: with at
    least 5 rows a value of the determinant, and 20 rows that would break it, were the columns independent (each row after
    the first of its value, times the chance that two cells of the dependent differ). A row breaks one by a pair of
    values that contradicts train; a missing cell passes, and so does a determinant that train has not seen. Of unseen real rows a
    few break what held in train by luck, so the ceiling, the same share of holdout A, is the value to compare with. It
    misleads where dependencies are few and coarse, and sees none among three columns (month and day decide the season).
    NaN where train has none.
    """

    modality: ClassVar[Modality] = "table"
    version: ClassVar[int] = 1
    scores: ClassVar[Mapping[str, Direction]] = {"": "higher"}
    remedy: ClassVar[str] = (
        "Leave the dependent column out of the source and add it after the run, as the determinant gives it, or reject by a rule the rows"
        " that contradict it."
    )
    against: ClassVar[Against] = "train"
    has_floor: ClassVar[bool] = False
    replicates: ClassVar[int] = 0

    def prepare(self, train: pa.Table, schema: Schema, *, seed: int) -> tuple[Dependency, ...]:
        """The dependencies of all train rows, in the order of the columns; `seed` is not used."""
        values = [_Values.of(column.name, train[column.name]) for column in measurable(schema.columns)]
        return tuple(_found(values))

    def measure(self, measured: Measured, references: References, *, seed: int) -> Measurement:
        """Exact; `seed` is not used. The table `dependencies` names determinant and dependent, and counts the rows that break it."""
        found = references.features
        assert isinstance(found, tuple), "measure needs what prepare returned"
        broken = [dependency.broken(measured.table) for dependency in found]
        details = pa.table(
            {
                "determinant": pa.array([dependency.determinant for dependency in found], pa.string()),
                "dependent": pa.array([dependency.dependent for dependency in found], pa.string()),
            }
        )
        return sound_share(
            broken,
            measured.table.num_rows,
            details,
            name="dependencies",
            without="no column of train decides another one",
        )


@dataclass(frozen=True, slots=True)
class Dependency:
    """`determinant` decides `dependent`: where the first is `causes[i]`, the second is `effects[i]`, in every train row."""

    determinant: str
    dependent: str
    causes: pa.Array
    effects: pa.Array

    def broken(self, table: pa.Table) -> Broken:
        """True where the two cells contradict train; shape (rows,)."""
        cells = table[self.dependent]
        places = pc.index_in(table[self.determinant], value_set=self.causes)
        expected = pa.chunked_array([self.effects.take(chunk) for chunk in places.chunks], self.effects.type)
        differs = pc.and_not(pc.not_equal(cells, expected), pc.is_null(cells, nan_is_null=True))
        return as_mask(differs)


@dataclass(frozen=True, slots=True)
class _Values:
    """A train column as codes into its distinct values."""

    column: str
    distinct: pa.Array
    codes: Codes

    @classmethod
    def of(cls, column: str, cells: pa.ChunkedArray) -> _Values:
        distinct = pc.drop_null(pc.unique(cells))
        codes = pc.fill_null(pc.index_in(cells, value_set=distinct), -1)
        return cls(column, distinct, np.asarray(codes.to_numpy(), dtype=np.int32))


def _found(values: list[_Values]) -> Iterator[Dependency]:
    screened = [column.codes[:SCREENED_ROWS] for column in values]
    for number, determinant in enumerate(values):
        if len(determinant.distinct) * ROWS_A_VALUE > len(determinant.codes):
            continue
        for other in np.flatnonzero(_uncontradicted(screened, number)):
            if other != number and (dependency := _decided(determinant, values[other])):
                yield dependency


def _uncontradicted(columns: Sequence[Codes], determinant: int) -> NDArray[np.bool_]:
    """Of which columns no two neighbouring rows contradict it, once sorted by the determinant; shape (columns,)."""
    order = np.argsort(columns[determinant], kind="stable")
    rows = np.stack(columns, axis=1)[order]  # (rows, columns)
    upper, lower = rows[:-1], rows[1:]
    is_same = (upper[:, determinant] == lower[:, determinant]) & (upper[:, determinant] >= 0)
    contradicts = (upper != lower) & (upper >= 0) & (lower >= 0)
    return np.asarray(~contradicts[is_same].any(axis=0), dtype=np.bool_)


def _decided(determinant: _Values, dependent: _Values) -> Dependency | None:
    """The dependency, where it holds in every row that knows both cells, and chance does not explain that."""
    is_known = (determinant.codes >= 0) & (dependent.codes >= 0)
    causes, effects = determinant.codes[is_known], dependent.codes[is_known]
    seen, first = np.unique(causes, return_index=True)
    effect_of = np.full(len(determinant.distinct), -1)
    effect_of[seen] = effects[first]
    if len(seen) * ROWS_A_VALUE > len(causes) or (effect_of[causes] != effects).any():
        return None
    shares = np.bincount(effects) / len(effects)
    surprise = (len(causes) - len(seen)) * (1 - float(shares @ shares))
    if surprise < SURPRISE:
        return None
    return Dependency(
        determinant.column,
        dependent.column,
        determinant.distinct.take(pa.array(seen)),
        dependent.distinct.take(pa.array(effect_of[seen])),
    )
