"""What an attacker guesses of a secret column: nearest rows by hand, memorised and honest tables, intervals."""

import numpy as np
import pyarrow as pa
import pytest

from evaluators.privacy.attributes import STEPS, Attacker, Attributes, _measurement, nearest_without
from synthmill.columns import Column, Schema
from synthmill.errors import SourceError
from synthmill.evaluator import Measured, Reference, References

SCHEMA = Schema(
    columns=(
        Column(name="x", kind="number", dtype="double"),
        Column(name="twice", kind="number", dtype="double"),
        Column(name="z", kind="number", dtype="double", nullable=True),
        Column(name="coin", kind="boolean", dtype="bool"),
    )
)


def rows(seed, count=600):
    """`twice` follows from `x`; `coin` hangs on nothing; a tenth of `z` is missing."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=count)
    z = [None if rng.random() < 0.1 else value for value in rng.normal(size=count)]
    return pa.table({"x": x, "twice": 2 * x, "z": z, "coin": rng.random(count) < 0.5}, schema=SCHEMA.arrow)


TRAIN, HOLDOUT = rows(1), rows(2)


def measure(table, schema=SCHEMA, train=TRAIN, holdout=HOLDOUT):
    return Attributes().measure(Measured(table), References(schema, Reference(holdout), Reference(train)), seed=0)


def test_the_nearest_without_a_column_is_the_nearest_in_the_others():
    rng = np.random.default_rng(0)
    queries, points = (rng.integers(0, 2 * STEPS, (5, n)).astype(np.int32) for n in (11, 50))
    differences = np.minimum(np.abs(queries[:, :, None] - points[:, None]), STEPS)  # (columns, queries, points)
    secrets = np.array([0, 3])
    expected = [np.delete(differences, secret, axis=0).sum(axis=0).argmin(axis=1) for secret in secrets]
    np.testing.assert_array_equal(nearest_without(queries, points, secrets).T, expected)


def attacker(released, train, kinds):
    cells = [np.array(side, dtype=np.float32) for side in (released, train)]
    return Attacker.of(*cells, kinds, np.arange(len(kinds)))


def test_an_amount_is_guessed_within_a_twentieth_of_trains_spread_and_a_label_by_name():
    train = [[amount, 0] for amount in range(101)]  # 2.5 and 97.5 % are 2.5 and 97.5: a tolerance of 4.75
    subject = attacker([[50, 0], [80, 1]], train, ("q", "c"))
    right = subject.right(np.array([[54.7, 0], [54.8, 0], [54.7, 1], [79, 0]], dtype=np.float32))
    assert right[:, 0].tolist() == [True, False, False, False]  # by the label: 50, 50, 80, 50
    assert right[:, 1].tolist() == [True, True, False, False]  # by the amount: 0, 0, 0, 1


def test_a_missing_cell_is_a_value_near_to_missing_alone():
    nan = np.nan
    subject = attacker([[nan, 0], [5, 1]], [[0, 0], [10, 1]], ("q", "c"))
    right = subject.right(np.array([[nan, 0], [nan, 1], [5, 0]], dtype=np.float32))
    assert right[:, 0].tolist() == [True, False, False]
    assert right[:, 1].tolist() == [True, False, False]


def test_a_constant_column_of_train_is_far_from_any_other_value():
    subject = attacker([[7, 0], [7.1, 1]], [[7, 0], [7, 1]], ("q", "c"))
    assert subject.right(np.array([[7, 0], [7.1, 1]], dtype=np.float32))[:, 1].all()


def test_the_farthest_cells_and_the_most_labels_fit_into_32_bits():
    most = 3 * Attributes.maximum_rows  # labels of three tables in which none occurs twice
    corners = [[x, label] for x in (1e30, -1e30, np.nan) for label in (0, most, np.nan)]
    subject = attacker(corners, [[amount, 0] for amount in range(101)], ("q", "c"))
    assert subject.right(np.array(corners, dtype=np.float32)).mean() == pytest.approx(
        1 / 3
    )  # by the first of three alike
    places = subject._coordinates(np.array(corners, dtype=np.float32)).astype(np.int64)
    assert np.ptp(places, axis=1).max() < 2**31


def test_copies_of_train_give_all_of_it_away_and_only_what_does_not_follow_is_an_advantage():
    found = measure(TRAIN)
    lines = {line["column"]: line for line in found.tables["columns"].to_pylist()}
    assert all(line["train"] > 0.99 for line in lines.values())  # few rows are alike, to a step, in all but one cell
    assert lines["coin"]["advantage"] == pytest.approx(0.5, abs=0.06)
    assert lines["twice"]["advantage"] < lines["coin"]["advantage"] / 3
    assert found.scores["largest"] == max(line["advantage"] for line in lines.values())
    assert found.scores[""] == pytest.approx(np.mean([line["advantage"] for line in lines.values()]))
    assert found.intervals[""][0] > 0.2
    assert found.intervals["largest"][0] > found.scores["largest"] - 0.1


def test_unseen_rows_give_nothing_away_but_for_chance():
    found = [measure(rows(3 * s), train=rows(3 * s + 1), holdout=rows(3 * s + 2)).intervals for s in range(40)]
    assert sum(intervals[""][0] <= 0 <= intervals[""][1] for intervals in found) >= 36
    assert sum(intervals["largest"][0] <= 0 for intervals in found) >= 36


def test_the_order_of_the_measured_rows_does_not_decide_ties():
    """All other cells are alike, so a guess is a draw from the measured rows, not the first of them."""
    schema = Schema(columns=(Column(name="same", kind="boolean", dtype="bool"), SCHEMA["coin"]))
    table = pa.table({"same": [True] * 400, "coin": [True] * 200 + [False] * 200})
    guesses = {
        Attributes()
        .measure(Measured(table), References(schema, Reference(table), Reference(table.slice(0, 200))), seed=seed)
        .tables["columns"]["train"][1]
        .as_py()
        for seed in range(20)
    }
    assert guesses == {0.0, 1.0}


def test_of_many_columns_a_dozen_are_secret_and_the_seed_says_which():
    rng = np.random.default_rng(0)
    names = [f"c{i}" for i in range(30)]
    schema = Schema(columns=tuple(Column(name=name, kind="number", dtype="double") for name in names))
    table = pa.table({name: rng.normal(size=50) for name in names})
    references = References(schema, Reference(table), Reference(table))
    drawn = [Attributes().measure(Measured(table), references, seed=s).tables["columns"]["column"] for s in (0, 0, 1)]
    assert len(drawn[0]) == 12
    assert drawn[0] == drawn[1] != drawn[2]


@pytest.mark.parametrize("count", [0, 1])
def test_one_column_is_no_table_to_attack(count):
    schema = Schema(columns=SCHEMA.columns[:count])
    with pytest.raises(SourceError, match="a column to know and one to guess"):
        measure(TRAIN, schema=schema)


def test_the_intervals_cover_the_truth_about_as_often_as_they_say():
    """Guesses of a row hang together, and columns differ in how well they are guessed; the largest advantage is .1."""
    rng = np.random.default_rng(0)
    known, control = np.array([0.3, 0.6, 0.9, 0.5]), np.array([0.2, 0.6, 0.9, 0.45])
    covered = []
    for _ in range(200):
        luck = [0.5 * rng.random((500, 1)) + 0.5 * rng.random((500, 4)) for _ in range(2)]
        ranks = [
            np.where(u < 0.5, 2 * u * u, 1 - 2 * (1 - u) ** 2) for u in luck
        ]  # uniform: the sum of two is a triangle
        found = _measurement(ranks[0] < known, ranks[1] < control, list("abcd"))
        truth = {"": (known - control).mean(), "largest": 0.1}
        covered.append([found.intervals[name][0] <= truth[name] <= found.intervals[name][1] for name in truth])
    mean, largest = np.mean(covered, axis=0)
    assert 0.9 <= mean <= 0.99
    assert largest >= 0.93  # it holds for all columns at once, so more often than it says
