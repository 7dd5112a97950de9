"""Gates: bounds on scores that block a release or warn of it, read with the noise of both sides in mind."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import hypot
from typing import Literal, NamedTuple

from synthmill.evaluator import Interval, Score
from synthmill.scoring.previous import PreviousRelease
from synthmill.spec import Gate, Recipe

Side = Literal["at_least", "at_most", "not_worse_than"]
Of = Literal["value", "ceiling", "normalised"]
Status = Literal["passed", "missed", "undetermined"]


@dataclass(frozen=True, slots=True)
class Verdict:
    """What one gate says of one score. `side`, `bound`, `of` and `action` are the recipe's; `against` is the release compared with."""

    name: str
    side: Side
    bound: float | str  # a number, or which release: latest, v1.2.0
    of: Of
    status: Status
    reason: str = ""
    action: Literal["block", "warn"] = "block"
    against: str | None = None

    @property
    def blocks(self) -> bool:
        """True where nothing may be placed or released; a gate that warns never does."""
        return self.status != "passed" and self.action == "block"

    @property
    def warns(self) -> bool:
        """True where it did not pass, and says no more than that."""
        return self.status != "passed" and self.action == "warn"

    @property
    def demand(self) -> str:
        """The gate in words: `at least 0.7 of normalised`, `not worse than latest (v1.2.0)`, `at most 0.1 (warns)`."""
        bound = self.bound if isinstance(self.bound, str) else f"{self.bound:g}"
        of = "" if self.of == "value" else f" of {self.of}"
        against = f" ({self.against})" if self.against and self.against != bound else ""
        warns = " (warns)" if self.action == "warn" else ""
        return f"{self.side.replace('_', ' ')} {bound}{of}{against}{warns}"


class _Finding(NamedTuple):
    status: Status
    reason: str
    against: str | None = None


def judge(
    recipe: Recipe, scores: Iterable[Score], earlier: Mapping[str, PreviousRelease | None] | None = None
) -> tuple[Verdict, ...]:
    """A verdict per gate, in the recipe's order. A gate on a score that is missing, failed or undetermined is undetermined.

    `earlier`: the releases that gates compare with, by what the recipe calls them (`latest`, `v1.2.0`); None where there is none.
    """
    by_name = {score.name: score for score in scores}
    found = []
    for _, name, gate in recipe.gates_by_key:
        side, bound = bound_of(gate)
        finding = _judge(gate, by_name.get(name), earlier or {})
        found.append(Verdict(name, side, bound, gate.of, finding.status, finding.reason, gate.action, finding.against))
    return tuple(found)


def bound_of(gate: Gate) -> tuple[Side, float | str]:
    """The one bound that a gate has, with its side."""
    if gate.not_worse_than is not None:
        return "not_worse_than", gate.not_worse_than
    if gate.at_least is not None:
        return "at_least", gate.at_least
    assert gate.at_most is not None, "a gate has exactly one bound"
    return "at_most", gate.at_most


def _judge(gate: Gate, score: Score | None, earlier: Mapping[str, PreviousRelease | None]) -> _Finding:
    if score is None:
        return _Finding("undetermined", "it was not measured")
    if score.status != "ok":
        return _Finding("undetermined", f"the score is {score.status}: {score.reason}")
    if gate.not_worse_than is not None:
        return _compare(score, earlier.get(gate.not_worse_than))
    return _bound(gate, score)


def _bound(gate: Gate, score: Score) -> _Finding:
    side, bound = bound_of(gate)
    assert isinstance(bound, float), "at_least and at_most are numbers"
    if gate.of == "ceiling" and bound != 1 and score.ceiling is not None and score.ceiling < 0:
        why = f"{bound:g} times a ceiling of {score.ceiling:.4g} says nothing; give a bound of the value"
        return _Finding("undetermined", why)
    excess = _excess(gate.of, bound, score)
    if excess is None:
        return _Finding("undetermined", f"the score has no {gate.of} value with an interval")
    low, high = excess
    if low < 0 < high and (blur := _blur(gate.of, score)):
        return _Finding("undetermined", blur)
    is_missed = high < 0 if side == "at_least" else low > 0
    of = "" if gate.of == "value" else f" of {gate.of}"
    reason = f"{_says(gate.of, score)}; {side.replace('_', ' ')} {bound:g}{of}"
    return _Finding("missed" if is_missed else "passed", reason)


def _compare(score: Score, previous: PreviousRelease | None) -> _Finding:
    """Missed when the whole interval of (now - then) lies on the worse side.

    Compared are the normalised values where both have one, since rows a side and source may have changed, else the raw ones.
    """
    if previous is None:
        return _Finding("passed", "there is no earlier release to compare with")
    version, then = previous.version, previous.scores.get(score.name)
    if then is None:
        return _Finding("undetermined", f"{version} was released without this score", version)
    of: Of = "normalised" if score.normalised_interval and then.normalised_interval else "value"
    if why := _why_not(of, score, then, version):
        return _Finding("undetermined", why, version)
    now_read, then_read = _read(of, score), _read(of, then)
    is_higher_better = of == "normalised" or score.direction == "higher"
    low, high = difference(now_read, then_read) if is_higher_better else difference(then_read, now_read)
    if low < 0 < high and (blur := _blur(of, score) or _blur(of, then)):
        return _Finding("undetermined", blur, version)
    reason = f"{of} {now_read[0]:.4g}, in {version} {then_read[0]:.4g}"
    return _Finding("missed" if high < 0 else "passed", reason, version)


def _why_not(of: Of, score: Score, then: Score, version: str) -> str:
    """Why the score cannot be compared with what it was, or nothing."""
    if then.status != "ok":
        return f"in {version} the score was {then.status}"
    if then.direction != score.direction:
        return f"in {version} {then.direction} was better"
    return _lacks(of, score, "the score") or _lacks(of, then, f"the score in {version}")


def _lacks(of: Of, score: Score, whose: str) -> str:
    has = score.normalised_interval if of == "normalised" else score.value is not None and score.interval
    return "" if has else f"{whose} has no {of} with an interval"


def _read(of: Of, score: Score) -> tuple[float, Interval]:
    value, interval = (
        (score.normalised, score.normalised_interval) if of == "normalised" else (score.value, score.interval)
    )
    assert value is not None, "asked of `_lacks`"
    assert interval is not None, "asked of `_lacks`"
    return value, interval


def _excess(of: Of, bound: float, score: Score) -> Interval | None:
    """The interval of (what the gate reads - what it is compared with).

    A ceiling is measured too, so its noise counts. `difference` takes the two as independent; both were measured against the same
    reference, so the true interval is narrower, and a gate errs on the side of not calling a miss.
    """
    if of == "normalised":
        return None if score.normalised_interval is None else _shift(score.normalised_interval, -bound)
    if score.value is None or score.interval is None:
        return None
    if of == "value":
        return _shift(score.interval, -bound)
    if score.ceiling is None or score.ceiling_interval is None:
        return None
    low, high = sorted(bound * end for end in score.ceiling_interval)
    return difference((score.value, score.interval), (bound * score.ceiling, (low, high)))


def difference(more: tuple[float, Interval], less: tuple[float, Interval]) -> Interval:
    """The interval of one value less another, each with an interval that need not be symmetric.

    The method of variance estimates recovery (MOVER: Zou and Donner, Statistics in Medicine 27, 2008): of each the reach towards where
    the difference would be smallest, or largest, added in squares.
    """
    (value, (low, high)), (other, (other_low, other_high)) = more, less
    apart = value - other
    return apart - hypot(value - low, other_high - other), apart + hypot(high - value, other - other_low)


def _blur(of: Of, score: Score) -> str:
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


def _says(of: Of, score: Score) -> str:
    if of == "normalised":
        return f"normalised {score.normalised:.4g}"
    ceiling = f", ceiling {score.ceiling:.4g}" if of == "ceiling" else ""
    return f"value {score.value:.4g}{ceiling}"


def _shift(interval: Interval, by: float) -> Interval:
    return interval[0] + by, interval[1] + by


def _reach(interval: Interval) -> float:
    return (interval[1] - interval[0]) / 2
