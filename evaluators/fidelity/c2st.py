"""Can a classifier tell synthetic rows from real ones?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from synthmill.columns import Modality
from synthmill.errors import SourceError
from synthmill.evaluator import Direction, Evaluator, Measured, Measurement, References
from synthmill.features import encode_jointly, measurable

FOLDS = 5
TREES = 100
SETTINGS = {
    "objective": "binary:logistic",
    "tree_method": "hist",
    "max_depth": 6,
    "eta": 0.1,
    "subsample": 0.8,  # without it the trees do not depend on the seed and the interval misses half its width
    "nthread": 1,
}


class C2st(Evaluator):
    """The detector score 1 - 2 max(0, AUC - 1/2): 1 where the classifier does no better than a coin, 0 where it is never wrong.

    The classifier two-sample test of Lopez-Paz and Oquab ("Revisiting classifier two-sample tests", ICLR 2017), with
    gradient-boosted trees (XGBoost: Chen and Guestrin, KDD 2016) for the classifier and, in place of accuracy, the
    AUC out of fold over 5. It sees what trees can see, and a single telling column is enough for a 0: read it beside
    fidelity/shape. It falls with the number of rows, so compare values at equal rows a side only. Rows that stand
    twice on one side pull it down, as a detector meets them in two folds.
    """

    modality: ClassVar[Modality] = "table"
    version: ClassVar[int] = 1
    scores: ClassVar[Mapping[str, Direction]] = {"": "higher"}
    remedy: ClassVar[str] = (
        "Look at the columns and ranges that gave the rows away, and mend those first: their kind under "
        "source.columns, a rule that all real rows meet, a longer fit."
    )
    maximum_rows: ClassVar[int] = 8_000

    def measure(self, measured: Measured, references: References, *, seed: int) -> Measurement:
        """`seed` chooses folds and trees. The table has no details: which column gave it away differs from fold to fold."""
        columns = measurable(references.schema.columns)
        if not columns:
            raise SourceError(
                "no column to tell rows apart by: all are ids, text or images", hint="leave fidelity/c2st out"
            )
        encoded = encode_jointly((measured.table, references.holdout.table), columns)
        is_real = np.repeat([0.0, 1.0], [len(rows) for rows in encoded.rows])
        auc = _out_of_fold_auc(np.concatenate(encoded.rows), is_real, encoded.kinds, seed)
        return Measurement({"": 1 - 2 * max(0.0, auc - 0.5)})


def _out_of_fold_auc(
    rows: NDArray[np.float32], is_real: NDArray[np.float64], kinds: tuple[str, ...], seed: int
) -> float:
    """One classifier a fold; the AUC within each held-out fold, averaged, since scores of two classifiers share no scale."""
    import xgboost as xgb
    from sklearn.metrics import roc_auc_score
    from sklearn.model_selection import StratifiedKFold

    aucs = []
    for fold, (fitted, held_out) in enumerate(
        StratifiedKFold(FOLDS, shuffle=True, random_state=seed).split(rows, is_real)
    ):
        known, unknown = (
            xgb.DMatrix(rows[i], is_real[i], feature_types=list(kinds), enable_categorical=True, nthread=1)
            for i in (fitted, held_out)
        )
        trees = xgb.train({**SETTINGS, "seed": seed + fold}, known, TREES)
        aucs.append(roc_auc_score(is_real[held_out], trees.predict(unknown)))
    return float(np.mean(aucs))
