"""The map between numbers and normal scores: smooth where train is, flat where many rows share a number."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import ndtr
from scipy.stats import kstest, norm

from synthmill.codecs.quantiles import QuantileMap


def fitted(numbers, unit=0.0, is_exact=False):
    distinct, counts = np.unique(np.asarray(numbers, dtype=np.float64), return_counts=True)
    return QuantileMap.fit(distinct, counts, unit, is_exact=is_exact)


def drawn(quantiles, rows=20_000):
    return quantiles.to_offsets(np.random.default_rng(9).standard_normal(rows))


@pytest.mark.parametrize("draw", [np.random.Generator.exponential, np.random.Generator.standard_normal])
def test_scores_are_normal_and_lead_back(draw):
    numbers = draw(np.random.default_rng(0), size=5_000)
    quantiles = fitted(numbers)
    scores = quantiles.to_scores(numbers)
    assert kstest(scores, norm.cdf).statistic < 0.02
    assert np.allclose(quantiles.to_offsets(scores), numbers, atol=1e-9)


def test_what_is_drawn_is_nearer_to_unseen_rows_than_the_quantiles_of_train_are():
    """The map forgets train's accidents. Distance: of the counts in 64 ranges that hold as many unseen rows each."""
    random = np.random.default_rng(3)
    smooth, exact = [], []
    for _ in range(20):
        train, unseen = random.gamma(3, size=1_000), random.gamma(3, size=100_000)
        ends = np.quantile(unseen, np.linspace(0, 1, 65)[1:-1])
        for found, made in ((smooth, drawn(fitted(train))), (exact, random.choice(train, 20_000))):
            shares = np.bincount(np.searchsorted(ends, made), minlength=64) / 20_000
            found.append(np.square(shares - 1 / 64).sum())
    assert np.mean(smooth) < 0.75 * np.mean(exact)


def test_a_spike_keeps_its_share_and_comes_out_as_itself():
    random = np.random.default_rng(4)
    numbers = np.where(random.random(5_000) < 0.015, 250.5, random.gamma(2, 100, 5_000))
    quantiles = fitted(numbers)
    assert len(quantiles.flats) == 1
    made = drawn(quantiles)
    assert (made == 250.5).mean() == pytest.approx((numbers == 250.5).mean(), abs=0.003)
    low, high = quantiles.flats[0]
    assert low < quantiles.to_scores(np.array([250.5])).item() < high
    assert quantiles.to_offsets(np.array([low, high])).tolist() == [250.5, 250.5]


def test_counts_that_their_neighbours_explain_are_no_spikes_and_round_sums_are():
    random = np.random.default_rng(5)
    smooth = random.poisson(40, 5_000)
    assert fitted(smooth, unit=1.0).flats == ()
    heaped = np.where(random.random(5_000) < 0.1, 50, smooth)
    assert len(fitted(heaped, unit=1.0).flats) == 1


def test_exact_maps_give_every_number_its_share():
    quantiles = fitted([1, 1, 2, 2, 2, 5], is_exact=True)
    ends = np.array(quantiles.flats)
    assert ndtr(ends[:, 1] - 0)[:-1] == pytest.approx([1 / 3, 5 / 6])
    assert ends[1:, 0] == pytest.approx(ends[:-1, 1])


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.floats(0, 1e15), min_size=1, max_size=60),
    st.sampled_from([0.0, 1.0, 0.01]),
    st.booleans(),
    st.integers(1, 40),
)
def test_any_map_ascends_and_stays_within_train(numbers, unit, is_exact, times):
    quantiles = fitted(numbers * times, unit, is_exact)
    assert (np.diff(quantiles.offsets) >= 0).all()
    assert (np.diff(quantiles.scores) >= 0).all()
    assert np.isfinite(quantiles.scores).all()
    made = quantiles.to_offsets(np.linspace(-40, 40, 81))
    assert (made.min(), made.max()) == (min(numbers), max(numbers))
    assert np.isfinite(quantiles.to_scores(np.asarray(numbers))).all()
