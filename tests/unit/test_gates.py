import json

import pytest
from pydantic import ValidationError

from synthmill.evaluator import Score
from synthmill.scoring.gates import judge
from synthmill.scoring.previous import PreviousRelease
from synthmill.spec import Gate, Recipe

NAME = "fidelity/c2st"


def score(value=0.6, reach=0.05, **changed) -> Score:
    """A score half a way from a floor of 0.2 to a ceiling of 1.0."""
    fields = {
        "name": "fidelity/c2st",
        "value": value,
        "direction": "higher",
        "floor": 0.2,
        "ceiling": 1.0,
        "normalised": (value - 0.2) / 0.8,
        "interval": (value - reach, value + reach),
        "ceiling_interval": (0.98, 1.02),
        "normalised_interval": ((value - reach - 0.2) / 0.8, (value + reach - 0.2) / 0.8),
        "rows": 500,
    }
    return Score(**(fields | changed))


def recipe(gates) -> Recipe:
    """A recipe with these gates, read as from its file."""
    fields = {"dataset": "x", "source": {"path": "x.csv"}, "jobs": [{"generator": "table/vae", "rows": 1}]}
    plain = {
        name: gate.model_dump(exclude_none=True) if isinstance(gate, Gate) else gate for name, gate in gates.items()
    }
    return Recipe.model_validate_json(json.dumps({**fields, "gates": plain}))


def status(gate: Gate, measured: Score) -> str:
    [verdict] = judge(recipe({NAME: gate}), [measured])
    assert verdict.blocks == (verdict.status != "passed")
    return verdict.status


def release(*scores: Score) -> PreviousRelease:
    return PreviousRelease("v1.2.0", 500, {found.name: found for found in scores}, {})


def compare(now: Score, *then: Score):
    """The verdict of not_worse_than: latest."""
    [verdict] = judge(recipe({NAME: Gate(not_worse_than="latest")}), [now], {"latest": release(*then)})
    return verdict


@pytest.mark.parametrize(
    ("gate", "expected"),
    [
        (Gate(at_least=0.5), "passed"),
        (Gate(at_least=0.64), "passed"),  # the interval reaches it
        (Gate(at_least=0.66), "missed"),
        (Gate(at_most=0.7), "passed"),
        (Gate(at_most=0.56), "passed"),
        (Gate(at_most=0.54), "missed"),
        (Gate(at_least=0.65, of="ceiling"), "passed"),
        (Gate(at_least=0.66, of="ceiling"), "missed"),
        (Gate(at_most=0.56, of="ceiling"), "passed"),
        (Gate(at_most=0.54, of="ceiling"), "missed"),
        (Gate(at_least=0.55, of="normalised"), "passed"),
        (Gate(at_least=0.57, of="normalised"), "missed"),
        (Gate(at_most=0.43, of="normalised"), "missed"),
    ],
)
def test_a_gate_is_missed_when_the_whole_interval_fails_it(gate, expected):
    assert status(gate, score()) == expected


def test_the_ceilings_noise_widens_a_relative_gate():
    gate = Gate(at_least=0.7, of="ceiling")  # value - 0.7 * ceiling is -0.1
    assert status(gate, score()) == "missed"
    assert status(gate, score(ceiling_interval=(0.85, 1.15))) == "passed"  # sqrt(0.05^2 + (0.7 * 0.15)^2) = 0.116


@pytest.mark.parametrize(
    "gate", [Gate(at_least=0.5), Gate(at_least=0.5, of="ceiling"), Gate(at_least=0.4, of="normalised")]
)
def test_an_interval_wider_than_half_the_way_is_undetermined(gate):
    assert status(gate, score(reach=0.19)) == "passed"
    assert status(gate, score(reach=0.21)) == "undetermined"


def test_an_interval_of_any_width_that_lies_on_one_side_decides():
    """Where floor and ceiling are close no interval is narrow enough, and .2 is not .9 all the same."""
    close = {"floor": 0.59, "ceiling": 0.6}
    assert status(Gate(at_least=0.1), score(reach=0.3, **close)) == "passed"
    assert status(Gate(at_least=0.95), score(reach=0.3, **close)) == "missed"
    assert status(Gate(at_least=0.5), score(reach=0.3, **close)) == "undetermined"


def test_a_multiple_of_a_negative_ceiling_says_nothing():
    same = score(value=-0.5, ceiling=-0.5, ceiling_interval=(-0.52, -0.48), floor=None)
    assert status(Gate(at_least=0.5, of="ceiling"), same) == "undetermined"
    assert status(Gate(at_least=1.0, of="ceiling"), same) == "passed"


def test_each_side_reaches_as_far_as_it_does_towards_the_bound():
    """No copy in 1,000 real rows reaches up, never down: what 5 copies in 1,000 exceed is asked of the near ends alone."""
    lower = {"direction": "lower", "floor": None, "normalised": None, "normalised_interval": None}
    ceiling = {"ceiling": 0.0, "ceiling_interval": (0.0, 0.0038)}
    found = score(value=0.004, interval=(0.0016, 0.0102), **ceiling, **lower)
    assert status(Gate(at_most=1.0, of="ceiling"), found) == "passed"  # .004 - hypot(.0024, .0038) < 0
    found = score(value=0.005, interval=(0.0021, 0.0117), **ceiling, **lower)
    assert status(Gate(at_most=1.0, of="ceiling"), found) == "missed"  # by half widths: .005 - hypot(.0048, .0019) < 0


def test_lower_is_better_measures_the_way_downwards():
    low = {"direction": "lower", "floor": 2.0, "ceiling": 0.4}
    assert status(Gate(at_most=1.0), score(**low)) == "passed"
    assert status(Gate(at_most=1.0), score(reach=0.39, **low)) == "passed"
    assert status(Gate(at_most=1.0), score(reach=0.41, **low)) == "undetermined"


def test_a_ceiling_no_better_than_the_floor_leaves_nothing_to_judge_by():
    assert status(Gate(at_least=0.58), score(ceiling=0.2)) == "undetermined"
    assert status(Gate(at_least=0.58), score(ceiling=0.1)) == "undetermined"


def test_without_a_floor_width_does_not_matter():
    copies = {"direction": "lower", "floor": None, "normalised": None, "normalised_interval": None}
    no_copies = score(value=0.0, reach=0.0, ceiling=0.0, ceiling_interval=(0.0, 0.0), **copies)
    assert status(Gate(at_most=1.1, of="ceiling"), no_copies) == "passed"
    assert status(Gate(at_most=1.1, of="ceiling"), score(value=3.0, reach=0.5, **copies)) == "missed"
    assert status(Gate(at_most=1.1, of="ceiling"), score(value=1.2, reach=0.5, **copies)) == "passed"
    assert status(Gate(at_most=1.1, of="normalised"), score(**copies)) == "undetermined"


@pytest.mark.parametrize("lost", ["undetermined", "failed"])
def test_a_score_that_is_not_ok_blocks_with_its_reason(lost):
    [verdict] = judge(recipe({NAME: Gate(at_least=0.0)}), [score(status=lost, reason="12 rows a side")])
    assert verdict.status == "undetermined"
    assert verdict.blocks
    assert lost in verdict.reason
    assert "12 rows a side" in verdict.reason


def test_a_gate_on_nothing_measured_blocks():
    [verdict] = judge(recipe({"fidelity/shape": Gate(at_least=0.0)}), [score()])
    assert (verdict.status, verdict.reason) == ("undetermined", "it was not measured")


def test_a_score_without_an_interval_blocks():
    assert status(Gate(at_least=0.1), score(interval=None)) == "undetermined"
    assert status(Gate(at_least=0.1, of="ceiling"), score(ceiling=None, ceiling_interval=None)) == "undetermined"


def test_verdicts_come_in_the_recipes_order():
    gates = {"b/x": Gate(at_least=0.1), "a/x": Gate(at_most=0.2, of="ceiling")}
    first, second = judge(recipe(gates), [])
    assert (first.name, first.side, first.bound, first.of) == ("b/x", "at_least", 0.1, "value")
    assert (second.name, second.side, second.bound, second.of) == ("a/x", "at_most", 0.2, "ceiling")


@pytest.mark.parametrize(
    "gate",
    [
        {},
        {"at_least": 0.1, "at_most": 0.2},
        {"at_least": 0.1, "not_worse_than": "latest"},
        {"not_worse_than": "latest", "of": "ceiling"},
        {"not_worse_than": "1.2.0"},
        {"at_least": 0.1, "action": "shout"},
        [],
    ],
)
def test_a_gate_that_says_nothing_or_two_things_is_refused(gate):
    with pytest.raises(ValidationError):
        recipe({NAME: gate})


def test_a_list_holds_several_gates_of_one_score():
    both = [{"at_least": 0.1}, {"at_least": 0.9, "action": "warn"}, {"not_worse_than": "latest"}]
    low, high, first = judge(recipe({NAME: both}), [score()])
    assert (low.status, high.status, first.status) == ("passed", "missed", "passed")
    assert (low.blocks, high.blocks, high.warns, low.warns) == (False, False, True, False)
    assert first.reason == "there is no earlier release to compare with"
    assert [v.demand for v in (low, high, first)] == ["at least 0.1", "at least 0.9 (warns)", "not worse than latest"]


def test_a_part_of_a_score_has_gates_of_its_own():
    part = "privacy/membership/tpr"
    [verdict] = judge(recipe({part: {"at_most": 0.5}}), [score(), score(name=part, direction="lower", floor=None)])
    assert (verdict.name, verdict.status) == (part, "missed")


# Not worse than an earlier release: the normalised values are (value - 0.2) / 0.8, their intervals reach 0.0625


@pytest.mark.parametrize(("then", "expected"), [(0.5, "passed"), (0.66, "passed"), (0.68, "missed")])
def test_worse_than_the_last_by_more_than_both_intervals_is_missed(then, expected):
    verdict = compare(score(), score(then))  # the intervals together reach sqrt(2) 0.05 = 0.0707
    assert (verdict.status, verdict.against) == (expected, "v1.2.0")
    assert verdict.demand == "not worse than latest (v1.2.0)"
    assert verdict.reason.startswith("normalised 0.5, in v1.2.0 0.")


def test_raw_values_are_compared_by_direction_where_there_is_no_normalised_one():
    raw = {"floor": None, "normalised": None, "normalised_interval": None}
    assert compare(score(**raw), score(0.68)).status == "missed"
    assert compare(score(), score(0.68, **raw)).reason.startswith("value 0.6, ")
    low = {**raw, "direction": "lower"}
    assert compare(score(**low), score(0.68, **low)).status == "passed"
    assert compare(score(0.67, **low), score(0.6, **low)).status == "passed"  # by 0.07, and the intervals reach 0.0707
    assert compare(score(0.68, **low), score(0.6, **low)).status == "missed"


def test_rows_or_a_ceiling_that_changed_do_not_matter_to_normalised_values():
    easier = score(0.8, reach=0.05, ceiling=1.4, normalised=0.5, normalised_interval=(0.46, 0.54))
    assert compare(easier, score(0.6)).status == "passed"
    assert compare(score(0.6), easier).status == "passed"


@pytest.mark.parametrize(
    ("now", "then", "words"),
    [
        (score(), (), "v1.2.0 was released without this score"),
        (
            score(),
            (score(normalised_interval=None, interval=None),),
            "the score in v1.2.0 has no value with an interval",
        ),
        (score(), (score(direction="lower"),), "in v1.2.0 lower was better"),
        (score(normalised_interval=None, interval=None), (score(),), "the score has no value with an interval"),
        (score(reach=0.21), (score(),), "more than half the way"),
    ],
)
def test_what_cannot_be_compared_is_undetermined(now, then, words):
    verdict = compare(now, *then)
    assert (verdict.status, verdict.blocks) == ("undetermined", True)
    assert words in verdict.reason


def test_a_named_version_is_compared_with_itself():
    gates = recipe({NAME: [{"not_worse_than": "latest"}, {"not_worse_than": "v1.0.0"}]})
    earlier = {"latest": release(score(0.9)), "v1.0.0": PreviousRelease("v1.0.0", 5, {NAME: score(0.5)}, {})}
    latest, named = judge(gates, [score()], earlier)
    assert (latest.status, latest.against) == ("missed", "v1.2.0")
    assert (named.status, named.against, named.demand) == ("passed", "v1.0.0", "not worse than v1.0.0")
