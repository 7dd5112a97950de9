import pytest

from synthmill.evaluator import Score
from synthmill.scoring.gates import judge
from synthmill.spec import Gate


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


def status(gate: Gate, measured: Score) -> str:
    [verdict] = judge({"fidelity/c2st": gate}, [measured])
    assert verdict.blocks == (verdict.status != "passed")
    return verdict.status


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
    "gate", [Gate(at_least=0.1), Gate(at_least=0.1, of="ceiling"), Gate(at_least=0.1, of="normalised")]
)
def test_an_interval_wider_than_half_the_way_is_undetermined(gate):
    assert status(gate, score(reach=0.19)) == "passed"
    assert status(gate, score(reach=0.21)) == "undetermined"


def test_lower_is_better_measures_the_way_downwards():
    low = {"direction": "lower", "floor": 2.0, "ceiling": 0.4}
    assert status(Gate(at_most=1.0), score(**low)) == "passed"
    assert status(Gate(at_most=1.0), score(reach=0.39, **low)) == "passed"
    assert status(Gate(at_most=1.0), score(reach=0.41, **low)) == "undetermined"


def test_a_ceiling_no_better_than_the_floor_leaves_nothing_to_judge_by():
    assert status(Gate(at_least=0.1), score(ceiling=0.2)) == "undetermined"
    assert status(Gate(at_least=0.1), score(ceiling=0.1)) == "undetermined"


def test_without_a_floor_width_does_not_matter():
    copies = {"direction": "lower", "floor": None, "normalised": None, "normalised_interval": None}
    no_copies = score(value=0.0, reach=0.0, ceiling=0.0, ceiling_interval=(0.0, 0.0), **copies)
    assert status(Gate(at_most=1.1, of="ceiling"), no_copies) == "passed"
    assert status(Gate(at_most=1.1, of="ceiling"), score(value=3.0, reach=0.5, **copies)) == "missed"
    assert status(Gate(at_most=1.1, of="ceiling"), score(value=1.2, reach=0.5, **copies)) == "passed"
    assert status(Gate(at_most=1.1, of="normalised"), score(**copies)) == "undetermined"


@pytest.mark.parametrize("lost", ["undetermined", "failed"])
def test_a_score_that_is_not_ok_blocks_with_its_reason(lost):
    [verdict] = judge({"fidelity/c2st": Gate(at_least=0.0)}, [score(status=lost, reason="12 rows a side")])
    assert verdict.status == "undetermined"
    assert verdict.blocks
    assert lost in verdict.reason
    assert "12 rows a side" in verdict.reason


def test_a_gate_on_nothing_measured_blocks():
    [verdict] = judge({"fidelity/shape": Gate(at_least=0.0)}, [score()])
    assert (verdict.status, verdict.reason) == ("undetermined", "it was not measured")


def test_a_score_without_an_interval_blocks():
    assert status(Gate(at_least=0.1), score(interval=None)) == "undetermined"
    assert status(Gate(at_least=0.1, of="ceiling"), score(ceiling=None, ceiling_interval=None)) == "undetermined"


def test_verdicts_come_in_the_recipes_order():
    gates = {"b/x": Gate(at_least=0.1), "a/x": Gate(at_most=0.2, of="ceiling")}
    first, second = judge(gates, [])
    assert (first.name, first.side, first.bound, first.of) == ("b/x", "at_least", 0.1, "value")
    assert (second.name, second.side, second.bound, second.of) == ("a/x", "at_most", 0.2, "ceiling")
