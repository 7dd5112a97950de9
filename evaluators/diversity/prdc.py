"""Do the synthetic rows reach everywhere that the real ones do?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import numpy as np
import pyarrow as pa

from synthmill.columns import Modality, Schema
from synthmill.evaluator import Direction, Evaluator, Measured, Measurement, References
from synthmill.features import measurable
from synthmill.neighbours import Embedding, Overlap, prdc
from synthmill.ranges import groups

NEIGHBOURS = 5  # Naeem et al., section 4
MINIMUM_ROWS = 20  # of B in a range; of fewer, a share covered says little and gives rows away
SHOWN = 20


class Prdc(Evaluator):
    """Coverage: the share of B's rows that have a synthetic row nearer than their fifth nearest other real row; 0 to 1, more is better.

    Naeem, Oh, Uh, Choi and Yoo, "Reliable fidelity and diversity metrics for generative models" (ICML 2020), as are `density`, how
    many such spheres around real rows a synthetic row lies in, over 5, and, after Kynkäänniemi et al., "Improved precision and
    recall metric for assessing generative models" (NeurIPS 2019), `precision`, the share of synthetic rows in some sphere around a
    real row, and `recall`, the share of real rows in some sphere around a synthetic row. They were made for features of images; here a row
    is a vector of standardised amounts and one-hot labels (`Embedding`).

    Real rows reach a coverage near 31/32 (with five neighbours and equal sides, for any distribution without ties), and a density and
    precision below those of a sampler that keeps to the densest places: above the ceiling they are not better, so read them beside
    coverage. One synthetic outlier has a wide sphere and lifts recall. Rows that stand often have a sphere without extent, in which nothing
    lies: where most rows are repeated, all four say little.
    """

    modality: ClassVar[Modality] = "table"
    version: ClassVar[int] = 2
    scores: ClassVar[Mapping[str, Direction]] = {
        "": "higher",
        "precision": "higher",
        "recall": "higher",
        "density": "higher",
    }
    floorless: ClassVar[tuple[str, ...]] = ("recall",)  # the control is wider than the data
    remedy: ClassVar[str] = (
        "Low coverage with high density: the rows crowd in some places, so fit longer, or balance by a label whose rows are "
        "missing. Low precision: rows lie where no real ones do, so add rules for what cannot be."
    )
    replicates: ClassVar[int] = 6
    maximum_rows: ClassVar[int] = 8_000

    def prepare(self, train: pa.Table, schema: Schema, *, seed: int) -> Embedding:
        """What the columns weigh is train's, so that every half-sample is measured alike."""
        return Embedding.fit(train, schema.columns)

    def measure(self, measured: Measured, references: References, *, seed: int) -> Measurement:
        """Reads no `seed`: the spheres of two sets of rows have no chance in them.

        The table `covered` has the ranges of columns whose real rows are covered least: `rows` is their share of B.
        """
        embedding = references.features
        assert isinstance(embedding, Embedding), "prepare comes first"
        found = prdc(embedding(references.holdout.table), embedding(measured.table), NEIGHBOURS)
        return Measurement(
            {"": found.coverage, "precision": found.precision, "recall": found.recall, "density": found.density},
            {"covered": _covered(measured.table, references, found)},
        )


def _covered(synthetic: pa.Table, references: References, found: Overlap) -> pa.Table:
    """Where real rows are missed: shares by range of one column at a time, the least covered first."""
    real, rows = references.holdout.table, []
    for column in measurable(references.schema.columns):
        ranges = groups(synthetic[column.name], real[column.name], column)
        sizes = ranges.counts()[1]
        covered = np.bincount(ranges.real, found.is_covered, len(sizes))
        rows += [
            {"column": column.name, "range": name, "rows": size / real.num_rows, "covered": share / size}
            for name, size, share in zip(ranges.names, sizes, covered, strict=True)
            if size >= MINIMUM_ROWS
        ]
    rows.sort(key=lambda row: row["covered"])
    return pa.Table.from_pylist(rows[:SHOWN], schema=_COVERED)


_COVERED = pa.schema(
    [("column", pa.string()), ("range", pa.string()), ("rows", pa.float64()), ("covered", pa.float64())]
)
