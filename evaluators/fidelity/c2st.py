"""Can a classifier tell synthetic rows from real ones, and by what?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from synthmill.columns import Column, Modality
from synthmill.errors import SourceError
from synthmill.evaluator import Direction, Evaluator, Measured, Measurement, References
from synthmill.features import encode_jointly, measurable
from synthmill.ranges import released, telling_ranges
from synthmill.trees import Rows, Settings, Trees, fit_trees, shares_of

FOLDS = 5
SETTINGS = Settings(objective="binary:logistic", rounds=100, max_depth=6, eta=0.1)
PERMUTED_COLUMNS = 20  # those with the largest gain; without a split a column cannot matter
PERMUTED_ROWS = 300  # of each fold
RANGED_COLUMNS = 12
SHOWN_RANGES = 60
_RANGES = pa.schema(
    [
        ("column", pa.string()),
        ("range", pa.string()),
        *((n, pa.float64()) for n in ("synthetic", "real", "probability")),
    ]
)


class C2st(Evaluator):
    """The detector score 1 - 2 max(0, AUC - 1/2): 1 where the classifier does no better than a coin, 0 where it is never wrong.

    The classifier two-sample test of Lopez-Paz and Oquab ("Revisiting classifier two-sample tests", ICLR 2017), with
    gradient-boosted trees (XGBoost: Chen and Guestrin, KDD 2016) for the classifier and, in place of accuracy, the
    AUC out of fold over 5. It sees what trees can see, and a single telling column is enough for a 0: read it beside
    fidelity/shape. It falls with the number of rows, so compare values at equal rows a side only. Rows that stand
    twice on one side pull it down, as a detector meets them in two folds.

    Two tables say by what. `columns`: `evidence` is how much is lost when the column's cells are permuted (Breiman, "Random
    forests", 2001), of the mean log odds, out of fold, that a row gets for what it is: unlike the AUC they do not end at 1, where
    each of two telling columns could be spared. `importance` is the column's share of it, 0 where the detector knows nothing;
    `gain` its share of what the splits gained. Gain misleads: it favours columns with many values, and goes to those that show a
    broken column broken as much as to that one.
    `ranges`: of the most important columns the share of synthetic and of real rows by range of values, and the mean `probability`
    out of fold that a row there is synthetic; sorted by the difference of shares times how sure the detector is. Where a
    column is broken only in what ties it to others, its ranges look alike.

    Rows of a child table are met with their parents' columns beside their own, so that it sees what ties the two tables.
    """

    modality: ClassVar[Modality] = "table"
    version: ClassVar[int] = 3
    joins: ClassVar[bool] = True
    scores: ClassVar[Mapping[str, Direction]] = {"": "higher"}
    remedy: ClassVar[str] = (
        "Look at the columns and ranges that gave the rows away, and mend those first: their kind under "
        "source.columns, a rule that all real rows meet, a longer fit."
    )

    def measure(self, measured: Measured, references: References, *, seed: int) -> Measurement:
        """`seed` chooses folds, trees and permutations."""
        columns = measurable(references.schema.columns)
        if not columns:
            raise SourceError(
                "no column to tell rows apart by: all are ids, text or images", hint="leave fidelity/c2st out"
            )
        encoded = encode_jointly((measured.table, references.holdout.table), columns)
        is_real = np.repeat([0.0, 1.0], [len(rows) for rows in encoded.rows])
        found = _detect(np.concatenate(encoded.rows), is_real, encoded.kinds, seed)
        order = np.lexsort((-found.gain, -found.evidence, -found.importance))
        readings = {name: getattr(found, name)[order] for name in ("importance", "evidence", "gain")}
        details = pa.table({"column": [columns[i].name for i in order], **readings})
        telling = [columns[i] for i in order[:RANGED_COLUMNS] if found.importance[i] > 0]
        ranges = _ranges(measured.table, references.holdout.table, telling, found.is_synthetic)
        tables, uncut = {"columns": details, "ranges": ranges}, 2 * (1 - found.auc)
        return Measurement({"": min(1.0, uncut)}, tables, uncut={"": uncut})


@dataclass(frozen=True, slots=True)
class _Detection:
    """What the classifiers of all folds found: by row out of fold, and by column."""

    auc: float  # within each held-out fold, averaged, since scores of two classifiers share no scale
    is_synthetic: NDArray[np.float64]  # probability (rows,)
    importance: NDArray[np.float64]  # (columns,), as the two below
    evidence: NDArray[np.float64]
    gain: NDArray[np.float64]


def _detect(rows: Rows, is_real: NDArray[np.float64], kinds: Sequence[str], seed: int) -> _Detection:
    """One classifier a fold."""
    from sklearn.metrics import roc_auc_score
    from sklearn.model_selection import StratifiedKFold

    rng = np.random.default_rng(seed)
    folds = StratifiedKFold(FOLDS, shuffle=True, random_state=seed)
    chances, aucs = np.empty(len(rows)), []
    gain, evidence, known = np.zeros(len(kinds)), np.zeros(len(kinds)), 0.0
    for fold, (fitted, held_out) in enumerate(folds.split(rows, is_real)):
        trees = fit_trees(rows[fitted], is_real[fitted], kinds, SETTINGS, seed=seed + fold)
        chances[held_out] = trees.predict(rows[held_out])
        aucs.append(roc_auc_score(is_real[held_out], chances[held_out]))
        gain += trees.gains / FOLDS
        some = rng.permutation(held_out)[:PERMUTED_ROWS]
        whole, lost = _evidence(trees, rows[some], is_real[some], rng)
        known += whole / FOLDS
        evidence += lost / FOLDS
    importance = shares_of(evidence.clip(0)) if known > 0 else np.zeros(len(kinds))
    return _Detection(float(np.mean(aucs)), 1 - chances, importance, evidence, shares_of(gain))


def _evidence(
    trees: Trees, rows: Rows, is_real: NDArray[np.float64], rng: np.random.Generator
) -> tuple[float, NDArray[np.float64]]:
    """The mean log odds for the truth, and what of them permuting each column loses, (columns,); 0 beyond the first few by gain."""
    tried = [i for i in np.argsort(-trees.gains)[:PERMUTED_COLUMNS] if trees.gains[i] > 0]
    copies = np.tile(rows, (1 + len(tried), 1, 1))  # (1 + columns tried, rows, columns)
    for copy, column in zip(copies[1:], tried, strict=True):
        copy[:, column] = rng.permutation(copy[:, column])
    log_odds = trees.log_odds(copies.reshape(-1, rows.shape[1])).reshape(len(copies), -1)
    whole, *permuted = (log_odds * (2 * is_real - 1)).mean(axis=1)
    lost = np.zeros(rows.shape[1])
    lost[tried] = whole - np.array(permuted)
    return float(whole), lost


def _ranges(
    synthetic: pa.Table, real: pa.Table, columns: Sequence[Column], is_synthetic: NDArray[np.float64]
) -> pa.Table:
    """The ranges of these columns that give the most away. Fewer than five real rows are given as none."""
    parts = []
    chances = is_synthetic[: len(synthetic)], is_synthetic[len(synthetic) :]
    for column in columns:
        found = telling_ranges(synthetic[column.name], real[column.name], column, chances)
        left, right = found.counts()
        shown = released(right)
        sums = np.bincount(found.synthetic, chances[0], len(found.names))
        real_sums = np.bincount(found.real, chances[1], len(found.names))
        parts.append(
            pa.table(
                {
                    "column": pa.array([column.name] * len(found.names), pa.string()),
                    "range": pa.array(found.names, pa.string()),
                    "synthetic": left / len(synthetic),
                    "real": shown / len(real),
                    "probability": (sums + np.where(shown, real_sums, 0.0)) / np.maximum(left + shown, 1),
                },
                _RANGES,
            ).filter(pa.array(left + shown > 0))
        )
    ranges = pa.concat_tables([_RANGES.empty_table(), *parts])
    share, other, chance = (ranges[name].to_numpy() for name in ("synthetic", "real", "probability"))
    order = np.argsort(-np.abs(share - other) * np.abs(2 * chance - 1), kind="stable")
    return ranges.take(pa.array(order[:SHOWN_RANGES]))
