"""Gates: bounds on scores that block a release, read with the noise of both sides in mind."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import hypot
from typing import Literal

from synthmill.evaluator import Score
from synthmill.scoring.intervals import Interval
from synthmill.spec import Gate


@dataclass(frozen=True, slots=True)
class Verdict:
    """What one gate says of one score; anything but `passed` blocks. `side` and `bound` are the recipe's."""

    name: str
    side: Literal["at_least", "at_most"]
    bound: float
    of: Literal["value", "ceiling", "normalised"]
    status: Literal["passed", "missed", "undetermined"]
    reason: str = ""

    @property
    def blocks(self) -> bool:
        """True where nothing may be placed or released."""
        return self.status != "passed"


def judge(gates: Mapping[str, Gate], scores: Iterable[Score]) -> tuple[Verdict, ...]:
    """A verdict per gate, in the recipe's order. A gate on a score that is missing, failed or undetermined is undetermined."""
    by_name = {score.name: score for score in scores}
    return tuple(_judge(name, gate, by_name.get(name)) for name, gate in gates.items())


def _judge(name: str, gate: Gate, score: Score | None) -> Verdict:
    side: Literal["at_least", "at_most"] = "at_most" if gate.at_least is None else "at_least"
    bound = gate.at_most if gate.at_least is None else gate.at_least
    assert bound is not None, "a gate has exactly one bound"

    def verdict(status: Literal["passed", "missed", "undetermined"], reason: str) -> Verdict:
        return Verdict(name, side, bound, gate.of, status, reason)

    if score is None:
        return verdict("undetermined", "it was not measured")
    if score.status != "ok":
        return verdict("undetermined", f"the score is {score.status}: {score.reason}")
    excess = _excess(gate.of, bound, score)
    if excess is None:
        return verdict("undetermined", f"the score has no {gate.of} value with an interval")
    if blur := _blur(gate.of, score):
        return verdict("undetermined", blur)
    low, high = excess
    is_missed = high < 0 if side == "at_least" else low > 0
    of = "" if gate.of == "value" else f" of {gate.of}"
    return verdict(
        "missed" if is_missed else "passed", f"{_says(gate.of, score)}; {side.replace('_', ' ')} {bound:g}{of}"
    )


def _excess(of: str, bound: float, score: Score) -> Interval | None:
    """The interval of (what the gate reads - what it is compared with).

    A ceiling is measured too, so its noise counts: the interval of value - bound * ceiling is put together from the two
    intervals by the square-and-add rule (MOVER: Zou and Donner, Statistics in Medicine 27, 2008). It takes the two as
    independent; both were measured against the same reference, so the true interval is narrower, and a gate errs on
    the side of not calling a miss.
    """
    if of == "normalised":
        return None if score.normalised_interval is None else _shift(score.normalised_interval, -bound)
    if score.value is None or score.interval is None:
        return None
    if of == "value":
        return _shift(score.interval, -bound)
    if score.ceiling is None or score.ceiling_interval is None:
        return None
    reach = hypot(_reach(score.interval), bound * _reach(score.ceiling_interval))
    difference = score.value - bound * score.ceiling
    return difference - reach, difference + reach


def _blur(of: str, score: Score) -> str:
    """Why the interval is too wide to judge by, or nothing: wider than half the way from floor to ceiling."""
    if of == "normalised" and score.normalised_interval is not None:
        width, way = 2 * _reach(score.normalised_interval), 1.0
    elif score.floor is None or score.ceiling is None or score.interval is None:
        return ""  # without a floor there is no way to measure by
    else:
        way = score.ceiling - score.floor if score.direction == "higher" else score.floor - score.ceiling
        width = 2 * _reach(score.interval)
    if width <= max(way, 0.0) / 2:
        return ""
    return f"the interval is {width:.3g} wide, more than half the way from floor to ceiling ({way:.3g})"


def _says(of: str, score: Score) -> str:
    if of == "normalised":
        return f"normalised {score.normalised:.4g}"
    ceiling = f", ceiling {score.ceiling:.4g}" if of == "ceiling" else ""
    return f"value {score.value:.4g}{ceiling}"


def _shift(interval: Interval, by: float) -> Interval:
    return interval[0] + by, interval[1] + by


def _reach(interval: Interval) -> float:
    return (interval[1] - interval[0]) / 2
