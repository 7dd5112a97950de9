"""Mutual information: scikit-learn's own, and the shapes that a correlation does not see."""

import numpy as np
import pyarrow as pa
import pytest
from sklearn.metrics import normalized_mutual_info_score
from support.measuring import A, B, X, Y, measured_by

from evaluators.fidelity._pairs import code_columns
from evaluators.fidelity.mutual_information import MutualInformation, normalised_mutual_information


def value(columns, synthetic, real) -> float:
    return measured_by(MutualInformation(), columns, synthetic, real).scores[""]


def test_it_is_scikit_learns_on_the_same_codes():
    rng = np.random.default_rng(0)
    tables = []
    for rows in (300, 500):
        x = rng.normal(size=rows)
        label = pa.array(np.where(x > 0.5, "p", "q"), mask=rng.random(rows) < 0.1)
        tables.append(pa.table({"x": x, "y": x**2 + rng.normal(size=rows), "a": label}))
    coded = code_columns(*tables, (X, Y, A))
    found = normalised_mutual_information(coded)
    for side in (0, 1):
        codes = [column[coded.side == side] for column in coded.codes]
        for i, j in ((0, 1), (0, 2), (1, 2)):
            assert found[side, i, j] == pytest.approx(normalized_mutual_info_score(codes[i], codes[j]), abs=1e-12)
            assert found[side, j, i] == found[side, i, j]


def test_dependence_lost_or_made_up_is_zero():
    decided = {"a": ["p", "p", "q", "q"], "b": ["s", "s", "t", "t"]}
    independent = {"a": ["p", "q", "p", "q"], "b": ["s", "s", "t", "t"]}
    assert value((A, B), independent, decided) == pytest.approx(0)
    assert value((A, B), decided, independent) == pytest.approx(0)
    assert value((A, B), decided, decided) == 1


def test_a_column_that_never_varies_tells_nothing():
    constant = {"a": ["p"] * 4, "b": ["s"] * 4}
    decided = {"a": ["p", "p", "q", "q"], "b": ["s", "s", "t", "t"]}
    assert value((A, B), constant, decided) == pytest.approx(0)
    assert value((A, B), constant, constant) == 1


def test_it_sees_a_parabola_and_not_a_sign():
    x = np.random.default_rng(0).normal(size=1000)
    assert value((X, Y), {"x": x, "y": np.random.default_rng(1).permutation(x**2)}, {"x": x, "y": x**2}) < 0.6
    assert value((X, Y), {"x": x, "y": -x}, {"x": x, "y": x}) > 0.9


def test_pairs_show_both_sides():
    decided = {"a": ["p", "p", "q", "q"], "b": ["s", "s", "t", "t"]}
    independent = {"a": ["p", "q", "p", "q"], "b": ["s", "s", "t", "t"]}
    found = measured_by(MutualInformation(), (A, B), independent, decided).tables["pairs"].to_pylist()
    assert found == [{"left": "a", "right": "b", "value": 0, "synthetic": 0, "real": 1}]
