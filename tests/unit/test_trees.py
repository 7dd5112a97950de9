"""Boosted trees as the evaluators use them."""

from dataclasses import replace

import numpy as np
import pytest

from synthmill.prediction import LABELS
from synthmill.trees import Settings, fit_trees, shares_of

FEW = Settings("binary:logistic", rounds=20, max_depth=2, eta=0.3)


def task(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rows = np.random.default_rng(seed).normal(size=(400, 3)).astype(np.float32)
    return rows, (rows[:, 1] > 0).astype(float)


def test_gain_names_the_column_that_decides():
    rows, answers = task()
    gains = fit_trees(rows, answers, ("q", "q", "q"), FEW, seed=0).gains
    assert shares_of(gains)[1] > 0.99
    assert shares_of(np.zeros(3)).tolist() == [0, 0, 0]


def test_codes_are_labels_and_not_amounts():
    """Even against odd codes: one split on sets of labels, and none on an amount, tells them apart."""
    codes = np.repeat(np.arange(20, dtype=np.float32), 30)[:, None]
    answers = codes[:, 0] % 2
    stump = replace(FEW, rounds=1, max_depth=1)
    assert len(np.unique(fit_trees(codes, answers, ("c",), stump, seed=0).predict(codes))) == 2
    chances = fit_trees(codes, answers, ("c",), stump, seed=0).predict(codes)
    assert chances[answers == 1].min() > chances[answers == 0].max()
    as_amounts = fit_trees(codes, answers, ("q",), stump, seed=0).predict(codes)
    assert as_amounts[answers == 1].min() <= as_amounts[answers == 0].max()


def test_log_odds_are_those_of_the_chances():
    rows, answers = task()
    trees = fit_trees(rows, answers, ("q", "q", "q"), FEW, seed=0)
    assert 1 / (1 + np.exp(-trees.log_odds(rows))) == pytest.approx(trees.predict(rows), abs=1e-5)


def test_the_seed_chooses_the_trees():
    rows, answers = task()
    noisy = np.where(np.random.default_rng(9).random(400) < 0.2, 1 - answers, answers)
    first, again, other = (
        fit_trees(rows, noisy, ("q", "q", "q"), FEW, seed=seed).predict(rows).tolist() for seed in (0, 0, 1)
    )
    assert first == again != other


@pytest.mark.parametrize(("count", "rounds", "eta"), [(2, 150, 0.05), (3, 150, 0.05), (10, 45, 1 / 6), (100, 5, 0.3)])
def test_many_labels_take_fewer_rounds_with_larger_steps(count, rounds, eta):
    found = LABELS.with_labels(count)
    assert (found.rounds, found.eta) == (rounds, pytest.approx(eta))
    assert found.num_class == (count if count > 2 else 0)
