"""Can the simplest classifier tell synthetic rows from real ones?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import nan
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from synthmill.columns import Modality
from synthmill.errors import SourceError
from synthmill.evaluator import Direction, Evaluator, Measured, Measurement, References
from synthmill.features import encode_jointly, measurable

if TYPE_CHECKING:
    from sklearn.pipeline import Pipeline

FOLDS = 3
RARE = 0.005  # share of rows; labels below it are one
LABELS = 50
FARTHEST = 1e3  # quartile distances or deviations; beside a few cells at 1e20 no other column is fitted
STEEP = 0.1  # of the mean log loss by a coefficient; fits that ended well are a hundred times flatter


class C2stLogistic(Evaluator):
    """The detector score 1 - 2 max(0, AUC - 1/2) of a logistic regression, out of fold over 3: 1 is a coin, 0 is never wrong.

    The classifier two-sample test of Lopez-Paz and Oquab ("Revisiting classifier two-sample tests", ICLR 2017) with a linear
    classifier, known as LogisticDetection from SDMetrics (DataCebo), whose folds, order of rows, scaling by the quartiles and mean
    over folds of the score are kept: on numbers without missing cells it is the same to 1e-6. It departs where that one fails or
    misleads: labels of either side are known, rare ones are one; a missing cell is also a column of its own; an amount
    whose quartiles meet (capital gains, mostly 0) is scaled by its standard deviation, not left as it is; scaled amounts end at
    1,000, so that a few broken cells in one column do not hide the others.

    It misleads by what it cannot see: a linear model of single columns sees shifts of means and shares, no spread and no
    dependence. A table whose columns are sampled independently of each other scores .94 to .99: a high value is no praise, a low
    one says that single columns are off. For the same reason the floor control is no floor here, and there is no normalised value.
    """

    modality: ClassVar[Modality] = "table"
    version: ClassVar[int] = 2
    scores: ClassVar[Mapping[str, Direction]] = {"": "higher"}
    remedy: ClassVar[str] = (
        "Single columns are off, so look at fidelity/shape for those with the lowest values, and at fidelity/missing."
    )
    has_floor: ClassVar[bool] = False
    replicates: ClassVar[int] = 5  # it is the cheap look beside fidelity/c2st

    def measure(self, measured: Measured, references: References, *, seed: int) -> Measurement:
        """`seed` chooses the folds. NaN where a regression ended before it used a column."""
        columns = measurable(references.schema.columns)
        if not columns:
            raise SourceError(
                "no column to tell rows apart by: all are ids, text or images", hint="leave fidelity/c2st_logistic out"
            )
        encoded = encode_jointly((references.holdout.table, measured.table), columns)
        is_real = np.repeat([1, 0], [len(rows) for rows in encoded.rows])
        rows = np.concatenate(encoded.rows).astype(np.float64)
        with threadpool_limits(self.threads):  # sums differ in bits between thread counts
            score = _detector_score(rows, is_real, encoded.kinds, seed)
        return Measurement({"": score}, undefined="the regression ended before it used every column")


def _detector_score(rows: NDArray[np.float64], is_real: NDArray[np.int64], kinds: Sequence[str], seed: int) -> float:
    """Each fold's score, averaged: a fold below a coin counts as a coin. NaN where a fit has stalled."""
    from sklearn.metrics import roc_auc_score
    from sklearn.model_selection import StratifiedKFold

    scores = []
    for fitted, held_out in StratifiedKFold(FOLDS, shuffle=True, random_state=seed).split(rows, is_real):
        model = _model(rows[fitted], kinds).fit(rows[fitted], is_real[fitted])
        if _has_stalled(model, rows[fitted], is_real[fitted]):
            return nan
        auc = roc_auc_score(is_real[held_out], model.predict_proba(rows[held_out])[:, 1])
        scores.append(1 - 2 * max(0.0, auc - 0.5))
    return float(np.mean(scores))


def _model(fitted: NDArray[np.float64], kinds: Sequence[str]) -> Pipeline:
    """Amounts imputed by their mean, marked and scaled; labels one-hot, a missing one too; then the regression."""
    from sklearn.compose import ColumnTransformer
    from sklearn.impute import SimpleImputer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, RobustScaler, StandardScaler

    columns = {"spread": [], "spiked": [], "labels": []}
    for index, kind in enumerate(kinds):
        columns["labels" if kind == "c" else "spread" if _is_spread(fitted[:, index]) else "spiked"].append(index)
    imputer = SimpleImputer(add_indicator=True, keep_empty_features=True)
    ends = FunctionTransformer(np.clip, kw_args={"a_min": -FARTHEST, "a_max": FARTHEST})
    rare_pooled = OneHotEncoder(handle_unknown="infrequent_if_exist", min_frequency=RARE, max_categories=LABELS)
    encoder = ColumnTransformer(
        [
            ("spread", make_pipeline(imputer, RobustScaler(), ends), columns["spread"]),
            ("spiked", make_pipeline(imputer, StandardScaler(), ends), columns["spiked"]),
            ("labels", rare_pooled, columns["labels"]),
        ]
    )
    return make_pipeline(encoder, LogisticRegression())


def _has_stalled(model: Pipeline, rows: NDArray[np.float64], is_real: NDArray[np.int64]) -> bool:
    """The loss falls along a column at least half as steeply as where every coefficient is 0: the fit has not used that column."""
    encoded, chances = model[:-1].transform(rows), model.predict_proba(rows)[:, 1]
    first, last = (np.abs(encoded.T @ (answer - is_real)) / len(rows) for answer in (0.5, chances))
    return bool(((first > STEEP) & (last > first / 2)).any())


def _is_spread(cells: NDArray[np.float64]) -> bool:
    """False where the quartiles meet, so that their distance is no scale."""
    known = cells[~np.isnan(cells)]
    return len(known) > 0 and bool(np.subtract(*np.quantile(known, (0.75, 0.25))) > 0)
