"""Does each column, looked at alone, have the shape of the real one?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import numpy as np
import pyarrow as pa

from synthmill.columns import Modality
from synthmill.errors import SourceError
from synthmill.evaluator import Direction, Evaluator, Measured, Measurement, References
from synthmill.features import measurable
from synthmill.shapes import distance


class Shape(Evaluator):
    """The mean over columns of 1 - KS (amounts, dates, times) or 1 - TVD (labels): 1 is the same shape, 0 is no value in common.

    KS is the two-sample statistic of Kolmogorov and Smirnov (1939), TVD half the sum of absolute differences of shares. A
    missing cell counts as a value of its own: the lowest amount, or one more label. It misleads alone: a table whose
    columns are sampled independently of each other has perfect shapes. For the same reason the floor control is no
    floor here, and there is no normalised value.
    """

    modality: ClassVar[Modality] = "table"
    version: ClassVar[int] = 1
    scores: ClassVar[Mapping[str, Direction]] = {"": "higher"}
    remedy: ClassVar[str] = (
        "Look at the columns with the lowest values: a wrong kind under source.columns is the commonest "
        "cause, then too short a fit."
    )
    has_floor: ClassVar[bool] = False

    def measure(self, measured: Measured, references: References, *, seed: int) -> Measurement:
        """Exact; `seed` is not used. The table `columns` holds the value of each column."""
        columns = measurable(references.schema.columns)
        if not columns:
            raise SourceError(
                "no column has a shape: all are ids, text or images", hint="leave fidelity/shape out of the recipe"
            )
        values = [1 - distance(measured.table[c.name], references.holdout.table[c.name], c) for c in columns]
        details = pa.table({"column": [c.name for c in columns], "kind": [c.kind for c in columns], "value": values})
        return Measurement({"": float(np.mean(values))}, {"columns": details})
