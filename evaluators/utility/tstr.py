"""Is a model trained on synthetic rows any good on real ones, alone and beside real rows?"""

from __future__ import annotations

from collections.abc import Mapping
from math import nan
from typing import ClassVar

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from synthmill.columns import Modality
from synthmill.evaluator import Direction, Evaluator, Measured, Measurement, References
from synthmill.prediction import Prediction, Task, with_known_target
from synthmill.ranges import MINIMUM_REAL, apart

LEARNT = {"synthetic": (0,), "real": (1,), "both": (0, 1)}  # which tables of the task each model learns from
SHOWN_COLUMNS = 50

Predictions = Mapping[str, Prediction]


class Tstr(Evaluator):
    """Train on synthetic, test on real (Esteban, Hyland and Rätsch, 2017): how well the target of holdout B is predicted.

    R2 for an amount, a date or a time: 1 is exact, 0 is no better than the mean, below 0 worse than that. For labels the
    area under the ROC curve, one label against the rest, averaged over the labels that B holds: 1 is exact, 1/2 is
    chance; chosen over accuracy because it needs no threshold and does not reward naming the commonest label. The
    ceiling is the same model trained on as many real rows. Where the real target cannot be predicted, floor and
    ceiling meet and the score says nothing.

    `both`: trained on the measured rows and as many train rows, which is what augmentation does. Its ceiling is holdout A beside train:
    what twice the real rows buy; in the table `models`, `real` is train alone: below that, the synthetic rows do harm.
    `importance`: the cosine between the columns' shares of gain (XGBoost's `total_gain`; Chen and Guestrin, KDD
    2016) in the model trained on measured rows and in the one trained on train: 1 is the same use of the columns, 0 no column
    in common. The idea is the feature importance rank distance of synthcity (Qian, Cebere and van der Schaar, 2023); the cosine,
    not a rank correlation, because the order of columns that hardly matter is chance. It misleads where one column carries
    the model (then the others hardly count) and where two columns say the same (then the trees choose between them freely).
    """

    modality: ClassVar[Modality] = "table"
    version: ClassVar[int] = 3
    scores: ClassVar[Mapping[str, Direction]] = {"": "higher", "both": "higher", "importance": "higher"}
    floorless: ClassVar[tuple[str, ...]] = ("both",)  # half of its rows are real
    remedy: ClassVar[str] = (
        "Look at fidelity/trend for the pairs with the target: what ties it to the other columns was not "
        "learnt. Fit longer, or give the target rows by balance."
    )
    needs_target: ClassVar[bool] = True
    replicates: ClassVar[int] = 5  # each fits three models

    def measure(self, measured: Measured, references: References, *, seed: int) -> Measurement:
        """`seed` chooses the trees' rows. NaN where B's target, as far as it is known, has a single value."""
        schema = references.schema
        tables = (measured.table, references.train.table, references.holdout.table)
        task = Task.pose([with_known_target(table, schema) for table in tables], schema, key="utility/tstr")
        if not task.is_defined:
            return Measurement(
                dict.fromkeys(self.scores, nan), undefined="the target has a single value, as far as it is known"
            )
        found = {name: task.predict(learnt, seed=seed) for name, learnt in LEARNT.items()}
        values = {name: _value(task, prediction) for name, prediction in found.items()}
        scores = {
            "": values["synthetic"],
            "both": values["both"],
            "importance": _cosine(found["synthetic"].gains, found["real"].gains),
        }
        models = pa.table({"trained_on": list(values), "value": list(values.values())})
        tables_ = {"models": models, "importance": _importance(task, found)}
        return Measurement(scores, {**tables_, "classes": _classes(task, found)} if task.labels else tables_)


def _value(task: Task, prediction: Prediction) -> float:
    from sklearn.metrics import r2_score

    if not task.labels:
        return float(r2_score(task.truth, prediction.values))
    return float(np.mean([_auc(task, prediction, [code]) for code in np.unique(task.truth).astype(int)]))


def _auc(task: Task, prediction: Prediction, codes: list[int]) -> float:
    """These labels against the rest. A label that the learnt rows never show has the same chance in every row, which is 1/2."""
    from sklearn.metrics import roc_auc_score

    return float(roc_auc_score(np.isin(task.truth, codes), prediction.values[:, codes].sum(axis=1)))


def _cosine(measured: NDArray[np.float64], real: NDArray[np.float64]) -> float:
    """Of `measured` with `real`: 0 where the measured rows teach no split, NaN where the real ones teach none."""
    length = float(np.linalg.norm(measured) * np.linalg.norm(real))
    return float(measured @ real) / length if length else (0.0 if real.any() else nan)


def _importance(task: Task, found: Predictions) -> pa.Table:
    """Shares of gain by column, the columns that matter most to the model of train first."""
    order = np.argsort(-found["real"].gains, kind="stable")[:SHOWN_COLUMNS]
    shares = {name: found[name].gains[order] for name in ("synthetic", "real")}
    return pa.table({"column": [task.columns[i] for i in order], **shares})


def _classes(task: Task, found: Predictions) -> pa.Table:
    """How each model does on each label of B, naming the label with the largest chance. Labels of few real rows are `other`."""
    rows = np.bincount(task.truth.astype(int), minlength=len(task.labels))
    shown = [code for code in np.argsort(-rows, kind="stable") if rows[code] >= MINIMUM_REAL]
    groups = [(str(task.labels[code]), [int(code)]) for code in shown]
    rare = [int(code) for code in np.flatnonzero(rows < MINIMUM_REAL)]
    if rows[rare].sum() >= MINIMUM_REAL:
        groups.append((apart("other", "labels", [label for label, _ in groups]), rare))
    lines = [_class_line(task, found[name], label, name, codes) for label, codes in groups for name in found]
    return pa.Table.from_pylist(lines)


def _class_line(task: Task, prediction: Prediction, label: str, trained_on: str, codes: list[int]) -> dict[str, object]:
    is_real, is_named = np.isin(task.truth, codes), np.isin(prediction.values.argmax(axis=1), codes)
    hits = int((is_real & is_named).sum())
    return {
        "label": label,
        "rows": int(is_real.sum()),
        "trained_on": trained_on,
        "auc": _auc(task, prediction, codes),
        "precision": hits / max(int(is_named.sum()), 1),
        "recall": hits / int(is_real.sum()),
        "f1": 2 * hits / int(is_real.sum() + is_named.sum()),
    }
