"""Is a model trained on synthetic rows any good on real ones?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from synthmill.columns import Column, Modality, Schema
from synthmill.errors import SourceError
from synthmill.evaluator import Direction, Evaluator, Measured, Measurement, References
from synthmill.features import Encoded, amounts, encode_jointly, measurable

TREES = 150
SETTINGS = {"tree_method": "hist", "max_depth": 4, "eta": 0.05, "subsample": 0.8, "nthread": 1}
# Few rows and an amount with outliers make R2 fall far below 0 (-6 was seen); damped leaves cost nothing where there is a signal.
FOR_AMOUNTS = {"objective": "reg:squarederror", "min_child_weight": 10, "reg_lambda": 10}


class Tstr(Evaluator):
    """Train on synthetic, test on real (Esteban, Hyland and Rätsch, 2017): how well the target of holdout B is predicted.

    R2 for an amount, a date or a time: 1 is exact, 0 is no better than the mean, below 0 worse than that. For labels the
    area under the ROC curve, one label against the rest, averaged over the labels that B holds: 1 is exact, 1/2 is
    chance; chosen over accuracy because it needs no threshold and does not reward naming the commonest label. The
    ceiling is the same model trained on as many real rows. Where the real target cannot be predicted, floor and
    ceiling meet and the score says nothing.
    """

    modality: ClassVar[Modality] = "table"
    version: ClassVar[int] = 1
    scores: ClassVar[Mapping[str, Direction]] = {"": "higher"}
    remedy: ClassVar[str] = (
        "Look at fidelity/trend for the pairs with the target: what ties it to the other columns was not "
        "learnt. Fit longer, or give the target rows by balance."
    )
    needs_target: ClassVar[bool] = True

    def measure(self, measured: Measured, references: References, *, seed: int) -> Measurement:
        """`seed` chooses the trees' rows. NaN where B's target, as far as it is known, has a single value."""
        target = _target(references.schema)
        columns = [c for c in measurable(references.schema.columns) if c.name != target.name]
        if not columns:
            raise SourceError(
                f"there is no column to predict {target.name} from", hint="leave utility/tstr out of the recipe"
            )
        fitted, tested = (_with_known(t, target) for t in (measured.table, references.holdout.table))
        if fitted.num_rows == 0 or pc.count_distinct(tested[target.name]).as_py() < 2:
            return Measurement({"": float("nan")})
        encoded = encode_jointly((fitted, tested), columns)
        value = (_auc if target.is_discrete else _r2)(fitted[target.name], tested[target.name], encoded, seed)
        return Measurement({"": value})


def _target(schema: Schema) -> Column:
    if schema.target is None:
        raise SourceError("utility needs a target", where="source.target", hint="name the column to predict")
    return schema[schema.target]


def _with_known(table: pa.Table, target: Column) -> pa.Table:
    """The rows whose target is known; a missing one can neither teach nor test."""
    values = table[target.name]
    is_known = pc.is_valid(values).to_numpy() if target.is_discrete else np.isfinite(amounts(values))
    return table.filter(pa.array(is_known))


def _predict(
    settings: dict[str, object], encoded: Encoded, target: NDArray[np.float64], seed: int
) -> NDArray[np.float32]:
    """Predictions for the second table of trees fitted to the first, whose `target` is given; shape (rows,) or (rows, labels)."""
    import xgboost as xgb

    known, unknown = (
        xgb.DMatrix(rows, label, feature_types=list(encoded.kinds), enable_categorical=True, nthread=1)
        for rows, label in zip(encoded.rows, (target, None), strict=True)
    )
    trees = xgb.train({**SETTINGS, **settings, "seed": seed}, known, TREES)
    return np.asarray(trees.predict(unknown))


def _r2(fitted: pa.ChunkedArray, tested: pa.ChunkedArray, encoded: Encoded, seed: int) -> float:
    from sklearn.metrics import r2_score

    known, truth = amounts(fitted), amounts(tested)
    centre, scale = known.mean(), known.std() or 1.0  # XGBoost reads targets as float32
    predicted = _predict(FOR_AMOUNTS, encoded, (known - centre) / scale, seed)
    return float(r2_score((truth - centre) / scale, predicted))


def _auc(fitted: pa.ChunkedArray, tested: pa.ChunkedArray, encoded: Encoded, seed: int) -> float:
    """A label of B that the synthetic rows never show has the same prediction in every row, which is chance: 1/2."""
    from sklearn.metrics import roc_auc_score

    labels = sorted(pc.unique(fitted).to_pylist())
    codes = pc.index_in(fitted, value_set=pa.array(labels, fitted.type)).to_numpy()
    chances = _predict({"objective": "multi:softprob", "num_class": len(labels)}, encoded, codes, seed)
    columns = chances.reshape(len(tested), -1).T  # a label alone comes as a vector
    by_label = dict(zip(labels, columns, strict=True))
    truth = np.array(tested.to_pylist(), dtype=object)
    never = np.zeros(len(truth))
    aucs = [roc_auc_score(truth == label, by_label.get(label, never)) for label in sorted(set(truth))]
    return float(np.mean(aucs))
