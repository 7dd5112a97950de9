"""The attacker's AUC and TPR in closed form, and what it finds in honest and in memorised rows."""

import numpy as np
import pyarrow as pa
import pytest
from scipy.stats import norm
from sklearn.metrics import roc_auc_score

from evaluators.privacy import membership
from evaluators.privacy.membership import Attack, Membership
from synthmill.columns import Column, Schema
from synthmill.evaluator import Measured, Reference, References

SCHEMA = Schema(
    columns=(
        Column(name="x", kind="number", dtype="double"),
        Column(name="y", kind="number", dtype="double", nullable=True),
        Column(name="label", kind="category", dtype="string"),
    )
)


def rows(seed, count=800):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=count)
    y = [None if rng.random() < 0.05 else value for value in x + rng.normal(size=count)]
    return pa.table({"x": x, "y": y, "label": np.where(x > 0, "high", "low")}, schema=SCHEMA.arrow)


TRAIN, HOLDOUT = rows(1), rows(2)


def measure(table, seed=0):
    return Membership().measure(Measured(table), References(SCHEMA, Reference(HOLDOUT), Reference(TRAIN)), seed=seed)


def jittered(table, spread):
    rng = np.random.default_rng(5)
    moved = {name: pa.array(table[name].to_pandas() + spread * rng.normal(size=len(table))) for name in ("x", "y")}
    return pa.table({**moved, "label": table["label"]}, schema=SCHEMA.arrow)


def test_the_auc_counts_ties_half():
    rng = np.random.default_rng(0)
    members, others = rng.integers(0, 9, 300) + 1.0, rng.integers(0, 9, 200) + 0.0
    truth, suspicion = np.repeat([1, 0], [300, 200]), np.concatenate([members, others])
    assert Attack(members, others).auc == pytest.approx(roc_auc_score(truth, suspicion), abs=1e-12)
    assert Attack(others, others).auc == 0.5


def test_the_tpr_is_read_at_the_threshold_that_one_in_a_hundred_others_pass():
    others = np.arange(100.0)
    members = np.array([98.5, 99.5, 0.0, 97.5])  # 99 alone passes; then two members do
    assert Attack(members, others).tpr(0.01) == 2 / 4
    assert Attack(members, others).tpr(0.02) == 3 / 4
    assert Attack(others + 1000, others).tpr(0.01) == 1


@pytest.mark.parametrize("fpr", [0.01, 0.3])
def test_where_all_rows_are_suspected_alike_the_lot_finds_as_many_members(fpr):
    assert Attack(np.zeros(50), np.zeros(70)).tpr(fpr) == pytest.approx(fpr)


@pytest.mark.parametrize("shift", [0.0, 1.0])
def test_the_intervals_cover_the_truth_about_as_often_as_they_say(shift):
    rng = np.random.default_rng(0)
    auc, tpr = norm.cdf(shift / np.sqrt(2)), norm.sf(norm.isf(0.01) - shift)
    covered = []
    for _ in range(200):
        attack = Attack(shift + rng.normal(size=1000), rng.normal(size=1000))
        (low, high), (tpr_low, tpr_high) = attack.auc_interval(), attack.tpr_interval(0.01)
        covered.append((low <= auc <= high, tpr_low <= tpr <= tpr_high))
    for share in np.mean(covered, axis=0):
        assert 0.9 <= share <= 0.99


def test_train_rows_with_a_little_noise_are_found_by_both_attacks():
    found = measure(jittered(TRAIN, 0.001))
    assert found.scores[""] > 0.9
    assert found.scores["domias"] > 0.9
    assert found.scores["tpr"] > 0.5
    assert found.intervals[""][0] > 0.9


def test_copies_are_found_by_the_density_ratio_where_rows_lie_close_too():
    found = measure(TRAIN)
    assert found.scores["tpr"] == 1
    assert found.scores["domias_tpr"] > 0.9


def test_unseen_rows_are_no_help():
    for seed in range(3, 8):
        found = measure(rows(seed))
        assert found.intervals[""][0] == 0.5
        assert found.intervals["domias"][0] == 0.5
        assert found.intervals["tpr"][0] <= 0.01 <= found.intervals["tpr"][1]


def test_the_density_ratio_finds_interpolated_rows_better_than_the_distance_does():
    """A row between two train rows is near to no single one, and still nearer than the population comes."""
    rng = np.random.default_rng(0)
    numbers = Schema(columns=tuple(Column(name=f"x{i}", kind="number", dtype="double") for i in range(6)))

    def table(cells):
        return pa.table({f"x{i}": cells[:, i] for i in range(6)}, schema=numbers.arrow)

    spread = np.exp(rng.normal(size=(4_000, 1)))  # dense in the middle, thin outside
    train, holdout = np.split(spread * rng.normal(size=(4_000, 6)), 2)
    pairs = train[np.argsort(((train[:, None] - train[None]) ** 2).sum(-1), axis=1)[:, 1]]
    references = References(numbers, Reference(table(holdout)), Reference(table(train)))
    scores = Membership().measure(Measured(table(0.7 * train + 0.3 * pairs)), references, seed=0).scores
    assert scores["domias"] > scores[""] + 0.05


def test_the_population_is_neither_member_nor_attacked():
    space = membership.Space.fit("l1", SCHEMA.columns, TRAIN, HOLDOUT)
    roles = membership._roles(space.encode(TRAIN), space.encode(HOLDOUT), np.random.default_rng(0))
    members, others, population = ({float(x) for x in role.amounts[0]} for role in roles)
    assert [role.rows for role in roles] == [400, 400, 400]
    assert not others & population
    assert not members & (others | population)


def test_the_curves_rise_from_few_false_alarms_to_many():
    curves = measure(jittered(TRAIN, 0.3)).tables["roc"].to_pandas()
    for _, curve in curves.groupby("attack"):
        assert curve["fpr"].is_monotonic_increasing
        assert curve["tpr"].is_monotonic_increasing
    assert set(curves["attack"]) == {"distance", "domias"}


@pytest.mark.parametrize(("count", "smallest"), [(200, 0.05), (800, 0.02), (1000, 0.01)])
def test_no_share_of_fewer_than_five_attacked_rows_is_in_the_table(count, smallest):
    """Half of the holdout's rows are attacked."""
    side = rows(5, count)
    references = References(SCHEMA, Reference(rows(6, count)), Reference(side))
    curves = Membership().measure(Measured(side), references, seed=0).tables["roc"].to_pandas()
    assert curves["fpr"].min() == smallest
