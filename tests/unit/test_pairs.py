"""Codes shared by two tables, and the associations of two columns."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from scipy.stats.contingency import association
from support.measuring import A, X
from threadpoolctl import threadpool_limits

from evaluators.fidelity._associations import correlation_ratio, cramers_v, pearson, standard_scores
from evaluators.fidelity._pairs import LABELS, Coded, code_columns, total_variation
from synthmill.columns import Column


def coded(column: Column, synthetic: list, real: list) -> Coded:
    tables = [pa.table({column.name: pa.array(cells, column.arrow)}) for cells in (synthetic, real)]
    return code_columns(*tables, [column])


def codes(column: Column, synthetic: list, real: list) -> list[int]:
    return coded(column, synthetic, real).codes[0].tolist()


def test_bins_are_the_deciles_of_both_tables_together():
    found = coded(X, list(range(100)), list(range(100, 200)))
    assert found.codes[0].tolist() == np.repeat(np.arange(10), 20).tolist()
    assert found.column_counts(0).tolist() == [[20] * 5 + [0] * 6, [0] * 5 + [20] * 5 + [0]]


def test_a_common_value_has_a_bin_of_its_own_wherever_it_lies():
    for rare in (-1.0, 1.0):  # all others lie on one side of the common value
        found = codes(X, [0.0] * 95, [rare] * 5)
        assert len(set(found[:95])) == 1
        assert set(found[:95]).isdisjoint(found[95:])


def test_labels_are_coded_by_how_common_they_are_and_missing_comes_last():
    assert codes(A, ["p", "q", None], ["q", "q", "r"]) == [1, 0, 3, 0, 0, 2]
    assert codes(X, [None, 1.0], [1.0, None])[0] == coded(X, [None, 1.0], [1.0, None]).sizes[0] - 1
    assert codes(X, [None], [None]) == [0, 0]


def test_rare_labels_count_as_one():
    common, rare = [f"common {i}" for i in range(LABELS)], ["rare", "rarer", None]
    found = coded(A, 2 * common + rare, 2 * common)
    assert found.sizes == (LABELS + 2,)
    assert found.codes[0][2 * LABELS : 2 * LABELS + 3].tolist() == [LABELS, LABELS, LABELS + 1]


def test_counts_are_pandas_crosstabs():
    rng = np.random.default_rng(0)
    tables = [pa.table({"a": rng.choice(["p", "q"], n), "b": rng.choice(["s", "t", "u"], n)}) for n in (50, 70)]
    columns = [Column(name=name, kind="category", dtype="string") for name in "ab"]
    found = code_columns(*tables, columns)
    for side, table in enumerate(tables):
        wanted = pd.crosstab(*table.to_pandas().to_numpy().T).to_numpy()
        assert np.sort(found.counts(0, 1)[side][:2, :3].ravel()).tolist() == np.sort(wanted.ravel()).tolist()
    assert found.rows.tolist() == [50, 70]


def test_total_variation_of_unequal_sides_by_hand():
    assert total_variation(np.array([[[2, 0], [1, 1]], [[1, 1], [0, 0]]])) == pytest.approx(0.5)


def test_pearson_reads_the_rows_where_both_are_known_as_pandas_does():
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(60, 4)) @ rng.normal(size=(4, 4)) + 1e6
    rows[rng.random((60, 4)) < 0.3] = np.nan
    scores = np.stack([standard_scores(pa.chunked_array([column])) for column in rows.T], axis=1)
    wanted = pd.DataFrame(rows).corr().to_numpy()
    np.testing.assert_allclose(pearson(scores), wanted, atol=1e-9)


def test_pearson_is_zero_where_a_column_does_not_vary():
    columns = [[0.1, 0.1, 0.1, 0.1], [1.0, 2.0, 3.0, 4.0], [7.0, 7.0, None, 9.0], [None, 5.0, 6.0, None]]
    scores = np.stack([standard_scores(pa.chunked_array([column], pa.float64())) for column in columns], axis=1)
    found = pearson(scores)
    assert found[0].tolist() == [0, 0, 0, 0]
    assert found[2, 3] == 0  # one row in common
    assert found[1, 3] == pytest.approx(1)


def test_the_number_of_threads_does_not_change_a_bit():
    scores = np.random.default_rng(0).normal(size=(7777, 33))  # a shape at which OpenBLAS sums in another order
    found = []
    for threads in (1, 2):
        with threadpool_limits(threads):
            found.append(pearson(scores))
    assert np.array_equal(*found)


def test_standard_scores_keep_the_microseconds_of_a_time_of_today():
    after = np.random.default_rng(0).integers(0, 1000, 100)
    times = pa.chunked_array([1_795_000_000_000_000 + after]).cast(pa.timestamp("us"))
    np.testing.assert_allclose(standard_scores(times), (after - after.mean()) / after.std(), atol=1e-9)


def test_standard_scores_bear_the_largest_doubles_and_leave_out_what_is_infinite():
    assert standard_scores(pa.chunked_array([[-1.7e308, 1.7e308]])).tolist() == pytest.approx([-1, 1])
    found = standard_scores(pa.chunked_array([[1.0, float("inf"), 3.0]]))
    assert np.isnan(found[1])
    assert found[[0, 2]].tolist() == pytest.approx([-1, 1])


@pytest.mark.parametrize("shape", [(2, 2), (3, 5)])
def test_cramers_v_is_scipys(shape):
    counts = np.random.default_rng(0).integers(1, 40, shape)
    wanted = association(counts, method="cramer", correction=False)
    assert cramers_v(counts) == pytest.approx(wanted, abs=1e-12)
    assert cramers_v(np.pad(counts, 1)) == pytest.approx(wanted, abs=1e-12)  # labels of the other table alone


def test_cramers_v_of_what_is_decided_independent_and_constant():
    assert cramers_v(np.diag([3, 5, 9])) == 1
    assert cramers_v(np.outer([1, 2], [3, 4, 5])) == pytest.approx(0, abs=1e-7)
    assert cramers_v(np.array([[3, 4]])) == 0


def test_correlation_ratio_of_two_groups_is_pearsons_r():
    rng = np.random.default_rng(0)
    group = rng.integers(0, 2, 100)
    scores = standard_scores(pa.chunked_array([group + rng.normal(size=100)]))
    assert correlation_ratio(scores, 3 * group) == pytest.approx(abs(np.corrcoef(scores, group)[0, 1]))
    assert correlation_ratio(standard_scores(pa.chunked_array([group.astype(float)])), group) == pytest.approx(1)
    assert correlation_ratio(np.zeros(100), group) == 0
    assert correlation_ratio(np.full(100, np.nan), group) == 0
