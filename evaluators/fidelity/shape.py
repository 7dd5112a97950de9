"""Does each column, looked at alone, have the shape of the real one?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from synthmill.columns import Column, Modality
from synthmill.errors import SourceError
from synthmill.evaluator import Direction, Evaluator, Measured, Measurement, References
from synthmill.features import amounts, measurable


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
        values = [_similarity(measured.table, references.holdout.table, column) for column in columns]
        details = pa.table({"column": [c.name for c in columns], "kind": [c.kind for c in columns], "value": values})
        return Measurement({"": float(np.mean(values))}, {"columns": details})


def _similarity(measured: pa.Table, real: pa.Table, column: Column) -> float:
    if column.is_discrete:
        return 1 - total_variation(measured[column.name], real[column.name])
    sides = (
        np.nan_to_num(amounts(t[column.name]), nan=-np.inf, posinf=np.inf, neginf=-np.inf) for t in (measured, real)
    )
    return 1 - kolmogorov_smirnov(*sides)


def kolmogorov_smirnov(x: NDArray[np.float64], y: NDArray[np.float64]) -> float:
    """The largest distance between the two empirical distribution functions, 0..1."""
    points = np.concatenate([x, y])
    below_x = np.searchsorted(np.sort(x), points, side="right") / len(x)
    below_y = np.searchsorted(np.sort(y), points, side="right") / len(y)
    return float(np.abs(below_x - below_y).max())


def total_variation(x: pa.ChunkedArray, y: pa.ChunkedArray) -> float:
    """Half the sum of absolute differences of the labels' shares, 0..1; missing is a label."""
    x_shares, y_shares = _shares(x), _shares(y)
    labels = sorted({*x_shares, *y_shares}, key=repr)  # a fixed order of summing: the same bits again
    return 0.5 * sum(abs(x_shares.get(label, 0.0) - y_shares.get(label, 0.0)) for label in labels)


def _shares(values: pa.ChunkedArray) -> dict[object, float]:
    counts = pc.value_counts(values)
    labels, sizes = counts.field("values").to_pylist(), counts.field("counts").to_pylist()
    return {label: size / len(values) for label, size in zip(labels, sizes, strict=True)}
