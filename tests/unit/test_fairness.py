"""Shares of groups, and gaps between groups of a model, by hand."""

import numpy as np
import pyarrow as pa
import pytest

from evaluators.fairness.outcomes import Outcomes
from evaluators.fairness.representation import Representation
from synthmill.columns import Column, Schema
from synthmill.errors import SourceError
from synthmill.evaluator import Measured, Measurement, Reference, References

GROUP = Column(name="group", kind="category", dtype="string")
AGE = Column(name="age", kind="integer", dtype="int64")
LABEL = Column(name="label", kind="category", dtype="string")
AMOUNT = Column(name="amount", kind="number", dtype="double")
ID = Column(name="id", kind="id", dtype="int64")
KNOWN = {column.name: column for column in (GROUP, AGE, LABEL, AMOUNT, ID)}


def measurement(evaluator, measured: dict, real: dict, *, protected="group", target=None) -> Measurement:
    schema = Schema(columns=tuple(KNOWN[name] for name in measured), target=target)
    tables = [pa.table(side, schema=schema.arrow) for side in (measured, real)]
    references = References(schema, Reference(tables[1]), Reference(tables[1]), protected=protected)
    return evaluator.measure(Measured(tables[0]), references, seed=0)


def test_representation_is_the_share_of_rows_in_their_group():
    found = measurement(
        Representation(), {"group": ["f"] * 10 + ["m"] * 30 + [None] * 10}, {"group": ["f"] * 50 + ["m"] * 50}
    )
    assert found.scores == {"": pytest.approx(1 - 0.5 * (0.3 + 0.1 + 0.2))}
    lines = found.tables["groups"].to_pylist()
    assert {line["group"]: (line["synthetic"], line["real"]) for line in lines} == {
        "f": (0.2, 0.5),
        "m": (0.6, 0.5),
        "missing": (0.2, 0.0),
    }


def test_representation_with_target_sees_who_gets_what():
    """All shares are right, and all good outcomes are in one group."""
    real = {"group": ["f", "m"] * 50, "label": ["good", "good", "bad", "bad"] * 25}
    unequal = {"group": ["f", "m"] * 50, "label": ["bad", "good"] * 50}
    scores = measurement(Representation(), unequal, real, target="label").scores
    assert scores == {"": 1, "target": pytest.approx(0.5)}


def test_groups_of_few_real_rows_are_one():
    real = {"group": ["f"] * 94 + ["x"] * 3 + ["y"] * 3}
    found = measurement(Representation(), {"group": ["f"] * 100}, real)
    assert found.scores[""] == pytest.approx(0.94)
    assert found.tables["groups"].column("group").to_pylist() == ["f", "other"]


def test_an_amount_has_quarters():
    found = measurement(Representation(), {"age": [80] * 50}, {"age": list(range(100))}, protected="age")
    assert found.scores[""] == pytest.approx(0.25)


@pytest.mark.parametrize(
    ("protected", "message"), [(None, "needs a protected column"), ("id", "has no groups"), ("sex", "is no column")]
)
def test_a_column_without_groups_is_an_error(protected, message):
    side = {"id": [1, 2], "group": ["f", "m"]}
    with pytest.raises(SourceError, match=message):
        measurement(Representation(), side, side, protected=protected)


def outcomes(seed: int, good: dict[str, float], rows: int = 2000) -> dict:
    """A label whose chance of being good follows the group alone."""
    rng = np.random.default_rng(seed)
    group = rng.choice(["f", "m"], rows)
    chance = np.where(group == "f", good["f"], good["m"])
    return {"group": group.tolist(), "label": np.where(rng.random(rows) < chance, "good", "bad").tolist()}


def test_outcomes_of_a_model_that_names_one_group_good_are_a_gap_of_one():
    unfair = outcomes(0, {"f": 0.1, "m": 0.9})
    equal = outcomes(0, {"f": 0.9, "m": 0.9})
    real = outcomes(1, {"f": 0.6, "m": 0.7})
    assert measurement(Outcomes(), unfair, real, target="label").scores == {"": 1, "errors": 1}
    assert measurement(Outcomes(), equal, real, target="label").scores == {"": 0, "errors": 0}


def test_outcomes_says_which_group_is_favoured():
    unfair, real = outcomes(0, {"f": 0.1, "m": 0.9}), outcomes(1, {"f": 0.6, "m": 0.7})
    lines = measurement(Outcomes(), unfair, real, target="label").tables["groups"].to_pylist()
    [women] = [line for line in lines if line["group"] == "f" and line["label"] == "good"]
    assert women["share_named"] == 0
    is_f = np.array(real["group"]) == "f"
    assert women["rows"] == is_f.sum()
    assert women["share_real"] == pytest.approx((np.array(real["label"])[is_f] == "good").mean())


def amounts(seed: int, raised: float, rows: int = 2000) -> dict:
    rng = np.random.default_rng(seed)
    group = rng.choice(["f", "m"], rows)
    return {"group": group.tolist(), "amount": raised * (group == "m") + rng.normal(size=rows)}


def test_outcomes_of_an_amount_are_in_standard_deviations():
    """Men get 2 more in the synthetic rows, and nobody in the real ones, whose deviation is 1."""
    scores = measurement(Outcomes(), amounts(0, 2.0), amounts(1, 0.0), target="amount").scores
    assert scores[""] == pytest.approx(2, abs=0.15)
    centred = measurement(Outcomes(), amounts(0, 0.0), amounts(1, 0.0), target="amount").scores
    assert max(centred.values()) < 0.2


def test_groups_too_small_for_a_rate_do_not_count():
    real = outcomes(1, {"f": 0.6, "m": 0.7})
    learnt = {"group": [*["f", "m"] * 500, *["x"] * 200], "label": [*["good"] * 1000, *["bad"] * 200]}
    few, many = dict(real), dict(real)
    few["group"], many["group"] = ["x"] * 19 + real["group"][19:], ["x"] * 60 + real["group"][60:]
    assert measurement(Outcomes(), learnt, few, target="label").scores[""] == 0
    assert measurement(Outcomes(), learnt, many, target="label").scores[""] == 1


def test_one_group_alone_has_no_gap():
    real = outcomes(1, {"f": 0.6, "m": 0.7}) | {"group": ["f"] * 2000}
    scores = measurement(Outcomes(), outcomes(0, {"f": 0.6, "m": 0.7}), real, target="label").scores
    assert np.isnan(list(scores.values())).all()
    with pytest.raises(SourceError, match="is the target and the protected column"):
        measurement(Outcomes(), real, real, target="label", protected="label")
