"""Do all labels exist?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from evaluators.validity._checks import Broken, as_mask, sound_share
from synthmill.columns import Modality, Schema
from synthmill.evaluator import Against, Direction, Evaluator, Measured, Measurement, References
from synthmill.features import measurable


class Categories(Evaluator):
    """The share of rows whose labels all occur in train: 1 is every row.

    Category adherence, as SDMetrics (DataCebo, 2022) takes it for a column, here of whole rows. A missing cell passes. Where a column has
    many rare labels, unseen real rows bring some that train has not, so the ceiling, the same share of holdout A, is the value to compare
    with. Generators that draw labels from a list cannot miss it; language models can. It says nothing of how often a label occurs: read it
    beside diversity and fidelity/shape. NaN where no column holds labels.
    """

    modality: ClassVar[Modality] = "table"
    version: ClassVar[int] = 1
    scores: ClassVar[Mapping[str, Direction]] = {"": "higher"}
    remedy: ClassVar[str] = (
        "The generator makes up labels: allow those of train alone by a rule (sex IN ('F', 'M')), or give the columns named the kind "
        "category, of which most generators draw train's labels."
    )
    against: ClassVar[Against] = "train"
    has_floor: ClassVar[bool] = False
    replicates: ClassVar[int] = 0

    def prepare(self, train: pa.Table, schema: Schema, *, seed: int) -> Mapping[str, pa.Array]:
        """The labels of every discrete column, over all train rows; `seed` is not used."""
        columns = [column.name for column in measurable(schema.columns) if column.is_discrete]
        return {name: pc.drop_null(pc.unique(train[name])) for name in columns}

    def measure(self, measured: Measured, references: References, *, seed: int) -> Measurement:
        """Exact; `seed` is not used. The table `columns` counts, for each column, rows with unseen labels and such labels."""
        known = references.features
        assert isinstance(known, Mapping), "measure needs what prepare returned"
        broken = [_unseen(measured.table[name], labels) for name, labels in known.items()]
        made_up = [
            pc.count_distinct(measured.table[name].filter(pa.array(mask))).as_py()
            for name, mask in zip(known, broken, strict=True)
        ]
        details = pa.table({"column": pa.array(known, pa.string()), "unseen_labels": pa.array(made_up, pa.int64())})
        return sound_share(broken, measured.table.num_rows, details, name="columns", without="no column holds labels")


def _unseen(values: pa.ChunkedArray, labels: pa.Array) -> Broken:
    is_known = as_mask(pc.is_in(values, value_set=labels))
    return np.asarray(~is_known & as_mask(pc.is_valid(values)), dtype=np.bool_)
