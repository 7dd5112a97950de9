"""Do the typical synthetic rows lie where the typical real ones do?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from synthmill.columns import Modality, Schema
from synthmill.evaluator import Direction, Evaluator, Measured, Measurement, References
from synthmill.neighbours import Embedding, nearest_euclidean

ALPHAS = np.linspace(0, 1, 30)  # as many as in the authors' package

Vectors = NDArray[np.float32]
Curve = NDArray[np.float64]


class AlphaPrecision(Evaluator):
    """How close two curves of synthetic rows are to those of real rows: alpha-precision, and `beta_recall`; 0 is best.

    Alaa, van Breugel, Saveliev and van der Schaar, "How faithful is your synthetic data? Sample-level metrics for evaluating and
    auditing generative models" (ICML 2022), with the integrals as their package synthcity takes them. P(alpha) is the share of
    synthetic rows in the smallest ball around the mean of B that holds the share alpha of B. R(beta) is the share of B's rows whose
    nearest synthetic row is at least as near as their nearest other real row, and is among the share beta of such nearest rows that
    lie closest to the mean of the synthetic rows. The value of a curve is 1 - sum |curve - alpha| / sum alpha, 1 where it is the
    diagonal. The authors learn an embedding into a ball; here, as in synthcity's "naive" form, distances are taken between the rows
    themselves (`Embedding`: amounts in standard deviations, labels one-hot), so that nothing is trained and the score does not vary
    with a seed.

    More is not better: rows of B's own distribution get a beta-recall near 1/2 and copies of B a higher one. So the runner turns values
    into their distance from that of holdout A, in [0, 1]; the raw ones are in the table `values`. It misleads where the real rows are
    not one cloud: the ball around the mean of two clumps holds the gap between them, and rows there count as typical.
    """

    modality: ClassVar[Modality] = "table"
    version: ClassVar[int] = 2
    scores: ClassVar[Mapping[str, Direction]] = {"": "lower", "beta_recall": "lower"}
    remedy: ClassVar[str] = (
        "Look at the curves. Precision above the diagonal: only typical rows are made, so sample at a higher temperature or fit "
        "longer; below it: rows lie where real ones do not, so add rules for what cannot be."
    )
    from_ceiling: ClassVar[bool] = True
    replicates: ClassVar[int] = 10
    maximum_rows: ClassVar[int] = 8_000

    def prepare(self, train: pa.Table, schema: Schema, *, seed: int) -> Embedding:
        """What the columns weigh is train's, so that every half-sample is measured alike."""
        return Embedding.fit(train, schema.columns)

    def measure(self, measured: Measured, references: References, *, seed: int) -> Measurement:
        """The raw values of both curves; reads no `seed`."""
        embedding = references.features
        assert isinstance(embedding, Embedding), "prepare comes first"
        real, synthetic = embedding(references.holdout.table), embedding(measured.table)
        curves = {"precision": precision_curve(real, synthetic), "recall": recall_curve(real, synthetic)}
        values = {"": closeness(curves["precision"]), "beta_recall": closeness(curves["recall"])}
        return Measurement(
            values,
            {
                "curves": pa.table({"alpha": ALPHAS, **curves}),
                "values": pa.table({"score": ["alpha_precision", "beta_recall"], "value": [*values.values()]}),
            },
        )


def precision_curve(real: Vectors, synthetic: Vectors) -> Curve:
    """P(alpha) for each of ALPHAS."""
    centre = real.mean(axis=0, dtype=np.float64)
    radii = np.quantile(_distances(real, centre), ALPHAS)
    return (_distances(synthetic, centre)[:, None] <= radii).mean(axis=0)


def recall_curve(real: Vectors, synthetic: Vectors) -> Curve:
    """R(beta) for each of ALPHAS; the quantiles are those of the synthetic rows that are nearest to some real row, as in synthcity."""
    to_real = nearest_euclidean(real, real, 1, exclude="self").distances[:, 0]
    found = nearest_euclidean(real, synthetic, 1)
    is_met = found.distances[:, 0] <= to_real
    from_centre = _distances(synthetic[found.indices[:, 0]], synthetic.mean(axis=0, dtype=np.float64))
    return (is_met[:, None] & (from_centre[:, None] <= np.quantile(from_centre, ALPHAS))).mean(axis=0)


def closeness(curve: Curve) -> float:
    """1 where the curve is the diagonal; synthcity's Delta."""
    return float(1 - np.abs(ALPHAS - curve).sum() / ALPHAS.sum())


def _distances(vectors: Vectors, centre: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.sqrt(((vectors - centre) ** 2).sum(axis=1))
