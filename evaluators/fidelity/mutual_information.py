"""Does one column tell as much about another as in the real rows?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from evaluators.fidelity._pairs import Coded, code_columns, column_means, each_pair, paired, rounded, worst_pairs
from synthmill.columns import Modality
from synthmill.evaluator import Direction, Evaluator, Measured, Measurement, References


class MutualInformation(Evaluator):
    """The mean over pairs of columns of 1 - |NMI - NMI'|: 1 is the same dependence, 0 is all of it lost or made up.

    NMI = 2 I(X; Y) / (H(X) + H(Y)) of each side, normalised mutual information (Strehl and Ghosh, JMLR 2002, with the arithmetic
    mean as in scikit-learn), 0 where both never vary. Compared pair by pair as in DataSynthesizer (Ping, Stoyanovich and
    Howe, SSDBM 2017) and SynthEval (Lautrup et al., DMKD 2024), which report the norm of the difference of the two matrices; the mean has a
    range of its own, 0..1. Amounts are coded by the deciles of both tables together, missing cells are one more label, and labels
    beyond a column's hundred commonest count as one.

    It sees any dependence of two columns, but neither its direction nor which values go together: permuted labels leave it at 1, so
    read it beside fidelity/trend. Where most pairs are independent, columns sampled on their own come close to 1: read the
    normalised value. Few rows and many labels make dependence up, on both sides alike.
    """

    modality: ClassVar[Modality] = "table"
    version: ClassVar[int] = 1
    scores: ClassVar[Mapping[str, Direction]] = {"": "higher"}
    remedy: ClassVar[str] = (
        "Look at the worst pairs: where the synthetic side tells less, fit longer or take a generator that models the columns "
        "jointly; where it tells more, the model repeats what it has seen, so stop earlier or give it more train rows."
    )

    def measure(self, measured: Measured, references: References, *, seed: int) -> Measurement:
        """Exact; `seed` is not used.

        Tables: `columns` (column, value: the mean over its pairs) and `pairs` (left, right, value, synthetic, real: the 50 worst).
        """
        columns = paired(references.schema.columns, "fidelity/mutual_information")
        names = [column.name for column in columns]
        information = normalised_mutual_information(code_columns(measured.table, references.holdout.table, columns))
        values = 1 - np.abs(information[0] - information[1])
        means = column_means(values)
        details = {
            "columns": pa.table({"column": names, "value": rounded(means)}),
            "pairs": worst_pairs(names, values, synthetic=information[0], real=information[1]),
        }
        return Measurement({"": float(means.mean())}, details)


def normalised_mutual_information(coded: Coded) -> NDArray[np.float64]:
    """NMI of each pair of columns on each side, shape (2, columns, columns); its diagonal is 0."""
    columns = len(coded.codes)
    terms = _entropy_terms(int(coded.rows.max()))
    entropies = np.stack([_entropy(coded.column_counts(i), terms) for i in range(columns)], axis=1)  # (2, columns)
    found = np.zeros((2, columns, columns))
    for left, right in each_pair(columns):
        both = entropies[:, left] + entropies[:, right]
        shared = np.maximum(both - _entropy(coded.counts(left, right), terms), 0)
        found[:, left, right] = found[:, right, left] = np.divide(2 * shared, both, out=np.zeros(2), where=both > 0)
    return found


def _entropy(counts: NDArray[np.intp], terms: NDArray[np.float64]) -> NDArray[np.float64]:
    """In nats, of each side, shape (2,): log n - sum(c log c) / n."""
    counts = counts.reshape(2, -1)
    rows = counts.sum(axis=1)
    return np.asarray(np.log(rows) - terms[counts].sum(axis=1) / rows)


def _entropy_terms(rows: int) -> NDArray[np.float64]:
    """c log c for every count from 0 to `rows`: looked up, because a logarithm for each cell of each pair takes longer."""
    counts = np.arange(rows + 1, dtype=np.float64)
    return counts * np.log(np.maximum(counts, 1))
