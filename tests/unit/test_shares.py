"""Wilson's and Newcombe's intervals: closed forms, ends, published values and coverage."""

import numpy as np
import pytest
from scipy.stats import binom

from synthmill.shares import newcombe, wilson, wilson_share

Z = 1.959963984540054


@pytest.mark.parametrize(("rows", "of"), [(1, 10), (37, 100), (50, 100), (15_999, 16_000)])
def test_both_ends_lie_where_the_score_test_rejects(rows, of):
    share = rows / of
    for end in wilson(rows, of):
        assert abs(share - end) == pytest.approx(Z * np.sqrt(end * (1 - end) / of), rel=1e-9)


def test_no_row_leaves_room_for_the_rule_of_three():
    low, high = wilson(0, 1000)
    assert low == 0
    assert high == pytest.approx(Z**2 / (1000 + Z**2))
    assert wilson(1000, 1000) == pytest.approx((1 - high, 1))


def test_no_rows_at_all_say_nothing():
    assert wilson(0, 0) == (0, 1)


@pytest.mark.parametrize("rows", [-1, 6])
def test_more_than_all_or_less_than_none_is_refused(rows):
    with pytest.raises(ValueError):
        wilson(rows, 5)


@pytest.mark.parametrize("share", [0.01, 0.1, 0.5, 0.9])
def test_it_covers_the_truth_about_as_often_as_it_says(share):
    covered = sum(binom.pmf(k, 500, share) for k in range(501) if wilson(k, 500)[0] <= share <= wilson(k, 500)[1])
    assert 0.93 <= covered <= 0.98


def test_less_confidence_is_a_narrower_interval():
    assert wilson(37, 100, confidence=0.5)[0] > wilson(37, 100)[0]
    assert newcombe(37, 100, 20, 90, confidence=0.5)[0] > newcombe(37, 100, 20, 90)[0]


@pytest.mark.parametrize(
    ("counts", "published"),
    [((56, 70, 48, 80), (0.0524, 0.3339)), ((9, 10, 3, 10), (0.1705, 0.8090)), ((10, 10, 0, 20), (0.6791, 1.0))],
)
def test_a_difference_has_the_interval_that_newcombe_published(counts, published):
    """Newcombe 1998, table II, method 10, examples a, b and g."""
    assert newcombe(*counts) == pytest.approx(published, abs=5e-5)


def test_a_difference_turned_round_has_the_interval_turned_round():
    low, high = newcombe(30, 100, 12, 80)
    assert newcombe(12, 80, 30, 100) == pytest.approx((-high, -low))


@pytest.mark.parametrize(("rows", "of"), [(0, 10), (37, 100), (100, 100)])
def test_a_share_of_whole_rows_has_the_interval_of_their_count(rows, of):
    assert wilson_share(rows / of, of) == pytest.approx(wilson(rows, of), abs=1e-12)


def test_fewer_effective_rows_make_a_wider_interval():
    (low, high), (inner_low, inner_high) = wilson_share(0.3, 50.5), wilson_share(0.3, 200)
    assert low < inner_low < 0.3 < inner_high < high
