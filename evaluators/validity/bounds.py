"""Do the amounts lie where train's do?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import pyarrow as pa
import pyarrow.compute as pc

from evaluators.validity._checks import Broken, as_mask, sound_share
from synthmill.columns import Modality, Schema
from synthmill.evaluator import Against, Direction, Evaluator, Measured, Measurement, References
from synthmill.features import measurable


class Bounds(Evaluator):
    """The share of rows whose amounts, dates and times all lie between the smallest and the largest of train: 1 is every row.

    Boundary adherence, as SDMetrics (DataCebo, 2022) takes it for a column, here of whole rows. A missing cell passes. Of unseen
    real rows a few lie outside as well, so the ceiling, the same share of holdout A, is the value to compare with. It misleads where
    a generator cuts what it makes to the bounds: all rows pass, and pile up at the ends, which fidelity/shape sees. NaN where no column
    holds amounts. The table names columns and counts rows; the bounds are cells of real rows and stay out of it.
    """

    modality: ClassVar[Modality] = "table"
    version: ClassVar[int] = 1
    scores: ClassVar[Mapping[str, Direction]] = {"": "higher"}
    remedy: ClassVar[str] = (
        "Write the bounds of the columns named as rules (age >= 17), so that rows outside are rejected. Where many are, the fit is short."
    )
    against: ClassVar[Against] = "train"
    has_floor: ClassVar[bool] = False
    replicates: ClassVar[int] = 0

    def prepare(self, train: pa.Table, schema: Schema, *, seed: int) -> tuple[Range, ...]:
        """The ends of every column of amounts, over all train rows; `seed` is not used."""
        columns = [column.name for column in measurable(schema.columns) if not column.is_discrete]
        return tuple(Range.of(name, train[name]) for name in columns)

    def measure(self, measured: Measured, references: References, *, seed: int) -> Measurement:
        """Exact; `seed` is not used. The table `columns` counts the rows outside the bounds of each column."""
        ranges = references.features
        assert isinstance(ranges, tuple), "measure needs what prepare returned"
        broken = [known.outside(measured.table[known.column]) for known in ranges]
        details = pa.table({"column": pa.array([known.column for known in ranges], pa.string())})
        return sound_share(broken, measured.table.num_rows, details, name="columns", without="no column holds amounts")


@dataclass(frozen=True, slots=True)
class Range:
    """The smallest and largest value of a train column; both are null where all of it is missing."""

    column: str
    low: pa.Scalar
    high: pa.Scalar

    @classmethod
    def of(cls, column: str, values: pa.ChunkedArray) -> Range:
        """Missing cells and NaN do not count."""
        ends = pc.min_max(values)
        return cls(column, ends["min"], ends["max"])

    def outside(self, values: pa.ChunkedArray) -> Broken:
        """True below `low` and above `high`; missing cells, and every cell where there are no bounds, lie inside."""
        return as_mask(pc.or_(pc.less(values, self.low), pc.greater(values, self.high)))
