"""Do pairs of columns hang together as the real ones do?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from evaluators.fidelity._associations import correlation_ratio, cramers_v, pearson, standard_scores
from evaluators.fidelity._pairs import (
    Coded,
    code_columns,
    column_means,
    each_pair,
    paired,
    rounded,
    total_variation,
    worst_pairs,
)
from synthmill.columns import Column, Modality
from synthmill.evaluator import Direction, Evaluator, Measured, Measurement, References

SHOWN_COLUMNS = 40

Matrix = NDArray[np.float64]
Sides = tuple[Matrix, Matrix]  # synthetic, real


class Trend(Evaluator):
    """The mean over pairs of columns of how alike they hang together: 1 is the same, 0 is no pair of values in common.

    Two amounts: 1 - |r - r'| / 2 with Pearson's r of each side. Two labels, or a label and an amount in bins: 1 - TVD of the shares of
    their pairs of values. This is Column Pair Trends of SDMetrics (DataCebo, 2022: CorrelationSimilarity and ContingencySimilarity),
    left where it misleads: the bins are the deciles of both tables together, not ten equal parts of each table's own range, which
    one outlier moves; r is 0 where an amount never varies, where SDMetrics leaves the pair out; labels beyond a column's hundred
    commonest count as one. Missing cells: r reads the rows where both are known; elsewhere missing is one more label.

    It misleads in two ways. Where most pairs are independent in the real rows, columns sampled on their own come out close to 1: read the
    normalised value. And it sees pairs alone, and of two amounts only their linear dependence: fidelity/mutual_information sees any
    dependence of two, fidelity/c2st that of more. With many labels the value of real rows falls as rows do: compare with the ceiling.

    In a child table pairs are also those of its columns with its parents'.
    """

    modality: ClassVar[Modality] = "table"
    version: ClassVar[int] = 1
    joins: ClassVar[bool] = True
    scores: ClassVar[Mapping[str, Direction]] = {"": "higher"}
    remedy: ClassVar[str] = (
        "Look at the worst pairs. A column that stands in most of them often has the wrong kind under source.columns; "
        "otherwise fit longer, or take a generator that models the columns jointly."
    )

    def measure(self, measured: Measured, references: References, *, seed: int) -> Measurement:
        """Exact; `seed` is not used.

        Tables: `columns` (column, value: the mean over its pairs), `pairs` (left, right, value: the 50 worst) and `correlations`
        (column, other, synthetic, real: each pair of the 40 worst columns once): Pearson's r for two amounts, Cramér's V for two
        labels, the correlation ratio for an amount and a label.
        """
        columns = paired(references.schema.columns, "fidelity/trend")
        tables = (measured.table, references.holdout.table)
        coded = code_columns(*tables, columns)
        scores = (_scores(tables[0], columns), _scores(tables[1], columns))
        r = (pearson(scores[0]), pearson(scores[1]))
        values = _similarities(coded, r, columns)
        means, names = column_means(values), [column.name for column in columns]
        return Measurement(
            {"": float(means.mean())},
            {
                "columns": pa.table({"column": names, "value": rounded(means)}),
                "pairs": worst_pairs(names, values),
                "correlations": _correlations(coded, r, scores, columns, means),
            },
        )


def _scores(table: pa.Table, columns: Sequence[Column]) -> Matrix:
    """Standard scores of the amounts, shape (rows, columns); NaN for the labels."""
    labels = np.full(table.num_rows, np.nan)
    return np.stack([labels if c.is_discrete else standard_scores(table[c.name]) for c in columns], axis=1)


def _similarities(coded: Coded, r: Sides, columns: Sequence[Column]) -> Matrix:
    """The value of each pair, shape (columns, columns)."""
    values = 1 - np.abs(r[0] - r[1]) / 2
    for left, right in each_pair(len(columns)):
        if columns[left].is_discrete or columns[right].is_discrete:
            values[left, right] = values[right, left] = 1 - total_variation(coded.counts(left, right))
    return values


def _correlations(
    coded: Coded, r: Sides, scores: Sides, columns: Sequence[Column], means: NDArray[np.float64]
) -> pa.Table:
    """The association of each pair of the worst columns on each side."""
    shown = np.sort(np.argsort(means, kind="stable")[:SHOWN_COLUMNS]).tolist()
    pairs = [(shown[i], shown[j]) for i, j in each_pair(len(shown))]

    def association(left: int, right: int, side: int) -> float:
        amounts = [i for i in (left, right) if not columns[i].is_discrete]
        if len(amounts) == 2:
            return float(r[side][left, right])
        if not amounts:
            return cramers_v(coded.counts(left, right)[side])
        label = right if amounts == [left] else left
        return correlation_ratio(scores[side][:, amounts[0]], coded.codes[label][coded.side == side])

    found = [rounded(np.array([association(*pair, side) for pair in pairs])) for side in (0, 1)]
    names = [[columns[pair[end]].name for pair in pairs] for end in (0, 1)]
    return pa.table({"column": names[0], "other": names[1], "synthetic": found[0], "real": found[1]})
