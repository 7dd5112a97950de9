"""Does a model trained on synthetic rows treat groups as one trained on real rows does?"""

from __future__ import annotations

from collections.abc import Mapping
from math import nan
from typing import ClassVar

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from evaluators.fairness._protected import protected_of
from synthmill.columns import Modality
from synthmill.errors import SourceError
from synthmill.evaluator import Direction, Evaluator, Measured, Measurement, References
from synthmill.prediction import Task, with_known_target
from synthmill.ranges import MINIMUM_REAL, Ranges, groups, released

MINIMUM_ROWS = 20  # of B in a group, and in a group with one answer: a rate of fewer is chance
SHOWN_LABELS = 10

Cells = NDArray[np.float64]  # (groups, ...) means by group, NaN where there are too few rows


class Outcomes(Evaluator):
    """How far the gap between groups of a model trained on the measured rows is from that of one trained on real rows; 0 is best.

    Both are tested on holdout B (train on synthetic, test on real, by group; Bhanot et al., "The problem of fairness in
    synthetic healthcare data", Entropy 2021). For labels the gap is the demographic parity difference: the largest difference between
    two groups in how often a label is named (Dwork et al., "Fairness through awareness", 2012). `errors` is the equalized odds
    difference: the same among the rows that have the label, or among those that do not, whichever is larger (Hardt, Price and Srebro,
    "Equality of opportunity in supervised learning", NeurIPS 2016; both as in Fairlearn). For an amount they are the largest
    differences between groups of the mean prediction and of the mean absolute error, in standard deviations of B's target
    (Agarwal, Dudik and Wu, "Fair regression", ICML 2019). A gap is 0..1 for labels, 0 and up for amounts.

    The runner turns a gap into its distance from the ceiling's, the gap of the same model trained on holdout A: less unequal than
    the real rows is not called better. It misleads where groups are small (those of fewer than 20 rows of B do not count,
    and of few more the largest gap is mostly chance: read the interval), and where a label is so rare that no model ever names it:
    then every gap is 0. Two models can have one gap and favour different groups: the table `groups` says which.
    """

    modality: ClassVar[Modality] = "table"
    version: ClassVar[int] = 2
    scores: ClassVar[Mapping[str, Direction]] = {"": "lower", "errors": "lower"}
    remedy: ClassVar[str] = (
        "Look at the groups: one that the synthetic rows lack, or whose tie to the target was not learnt, is treated "
        "otherwise. Give it rows by balance or a job of its own by where."
    )
    from_ceiling: ClassVar[bool] = True
    needs_target: ClassVar[bool] = True
    needs_protected: ClassVar[bool] = True
    replicates: ClassVar[int] = 5

    def measure(self, measured: Measured, references: References, *, seed: int) -> Measurement:
        """The raw gaps; NaN where fewer than two groups have rows enough. `seed` chooses the trees' rows."""
        schema, column = references.schema, protected_of(references)
        if column.name == schema.target:
            hint = "leave fairness/outcomes out of the recipe"
            raise SourceError(f"{column.name} is the target and the protected column", where="source", hint=hint)
        learnt, tested = (with_known_target(table, schema) for table in (measured.table, references.holdout.table))
        task = Task.pose((learnt, tested), schema, key="fairness/outcomes")
        if not task.is_defined:
            return Measurement(dict.fromkeys(self.scores, nan))
        group = groups(learnt[column.name], tested[column.name], column)
        predicted = task.predict((0,), seed=seed).values
        if task.labels:
            return _by_label(task, group, predicted.argmax(axis=1))
        return _by_amount(task, group, predicted)


def _by_label(task: Task, group: Ranges, named: NDArray[np.int64]) -> Measurement:
    """`named` (rows,) are the codes of the labels with the largest chance."""
    everyone = np.full(len(named), True)
    parts, odds, parity = {}, [], []
    for code in range(len(task.labels)):
        is_named, has_it = (named == code).astype(np.float64), task.truth == code
        rates = {
            "share_named": _means(is_named, group, everyone),
            "named_where_true": _means(is_named, group, has_it),
            "named_where_false": _means(is_named, group, ~has_it),
        }
        parity.append(_gap(rates["share_named"]))
        odds += [_gap(rates["named_where_true"]), _gap(rates["named_where_false"])]
        parts[code] = {"share_real": _shares(group, has_it), **rates}
    rows = np.bincount(task.truth.astype(int), minlength=len(task.labels))
    shown = [code for code in np.argsort(-rows, kind="stable")[:SHOWN_LABELS] if rows[code] >= MINIMUM_REAL]
    tables = [_table(group, {"label": str(task.labels[code])}, parts[code]) for code in shown]
    details = {"groups": pa.concat_tables(tables)} if tables else {}
    return Measurement({"": _largest(parity), "errors": _largest(odds)}, details)


def _by_amount(task: Task, group: Ranges, predicted: Cells) -> Measurement:
    deviation = task.truth.std()
    everyone = np.full(len(predicted), True)
    errors = _means(np.abs(predicted - task.truth) / deviation, group, everyone)
    centred = [_means((values - task.truth.mean()) / deviation, group, everyone) for values in (task.truth, predicted)]
    means = {"mean_real": centred[0], "mean_predicted": centred[1], "mean_error": errors}
    return Measurement({"": _gap(centred[1]), "errors": _gap(errors)}, {"groups": _table(group, {}, means)})


def _means(values: Cells, group: Ranges, chosen: NDArray[np.bool_]) -> Cells:
    """The mean of `values` by group among the chosen rows of B; shape (groups,)."""
    count = len(group.names)
    rows = np.bincount(group.real[chosen], minlength=count)
    sums = np.bincount(group.real[chosen], values[chosen], count)
    return np.divide(sums, rows, out=np.full(count, nan), where=rows >= MINIMUM_ROWS)


def _shares(group: Ranges, has_it: NDArray[np.bool_]) -> Cells:
    """The share of each group's real rows that have the label; fewer than five such rows are given as none."""
    having = np.bincount(group.real[has_it], minlength=len(group.names))
    return released(having) / np.maximum(group.counts()[1], 1)


def _gap(means: Cells) -> float:
    known = means[np.isfinite(means)]
    return float(np.ptp(known)) if len(known) > 1 else nan


def _largest(gaps: list[float]) -> float:
    return max((gap for gap in gaps if np.isfinite(gap)), default=nan)


def _table(group: Ranges, names: Mapping[str, str], means: Mapping[str, Cells]) -> pa.Table:
    """The groups that have rows enough, in order of size; what too few rows tell is empty."""
    rows = group.counts()[1]
    shown = [i for i in np.argsort(-rows, kind="stable") if rows[i] >= MINIMUM_ROWS]
    cells = {name: pa.array(values[shown], mask=np.isnan(values[shown])) for name, values in means.items()}
    label = {name: pa.array([text] * len(shown), pa.string()) for name, text in names.items()}
    return pa.table(
        {"group": pa.array([group.names[i] for i in shown], pa.string()), **label, "rows": rows[shown], **cells}
    )
