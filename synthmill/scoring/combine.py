"""From the estimates of the three roles to scores: value, floor, ceiling, normalised, each with its interval."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from synthmill.evaluator import Direction, Evaluator, Interval, Score
from synthmill.registry import evaluator
from synthmill.scoring.intervals import around
from synthmill.scoring.references import MINIMUM_STRATUM_ROWS
from synthmill.scoring.sides import Draw, Exam
from synthmill.scoring.trials import Estimate, Failed, Role

MINIMUM_COVERED = 0.9  # share of accepted rows whose stratum has references

Values = NDArray[np.float64]  # the value of all rows, then of each half-sample: (1 + replicates,)


@dataclass(frozen=True, slots=True)
class _Reading:
    """One score in one role."""

    values: Values
    closed: Interval | None  # an interval known in closed form

    @property
    def first(self) -> float | None:
        return _rounded(self.values[0]) if math.isfinite(self.values[0]) else None

    @property
    def interval(self) -> Interval | None:
        found = self.closed or around(self.values[0], self.values[1:])
        if found is None or not all(map(math.isfinite, found)):
            return None
        return _rounded(found[0]), _rounded(found[1])


def undetermined(key: str, exam: Exam, draw: Draw) -> tuple[Score, ...]:
    """The scores of an evaluator that has too few rows to measure; none where it has enough."""
    kind = evaluator(key)
    if draw.rows >= kind.minimum_rows:
        return ()
    least = f"(of a stratum with under {MINIMUM_STRATUM_ROWS} held-out rows none count)"
    reason = f"{draw.rows} rows a side that meet conditions and rules, and it takes {kind.minimum_rows} {least}"
    return tuple(
        Score(
            name=full_name(key, name), value=None, direction=way, rows=draw.rows, status="undetermined", reason=reason
        )
        for name, way in kind.scores.items()
    )


def combine(key: str, draw: Draw, found: Mapping[Role, Estimate | Failed]) -> tuple[Score, ...]:
    """The scores of one evaluator on one mixture, in the order in which it declares them."""
    kind = evaluator(key)
    estimates: dict[Role, Estimate] = {}
    for role, result in found.items():
        if isinstance(result, Failed):
            on = "" if role == "candidate" else f" (on the {role})"
            return tuple(
                Score(name=full_name(key, n), value=None, direction=way, status="failed", reason=result.reason + on)
                for n, way in kind.scores.items()
            )
        estimates[role] = result
    return tuple(_scores(key, kind, draw, estimates))


def full_name(key: str, name: str) -> str:
    """`fidelity/c2st`, or `privacy/membership/tpr`."""
    return f"{key}/{name}" if name else key


def _scores(key: str, kind: type[Evaluator], draw: Draw, estimates: Mapping[Role, Estimate]) -> Iterator[Score]:
    for name, direction in kind.scores.items():
        if name not in estimates["candidate"].values:
            continue
        value, ceiling, floor = (_reading(estimates.get(role), name) for role in ("candidate", "ceiling", "floor"))
        if name in kind.floorless:
            floor = None
        assert value is not None, "checked above"
        if kind.from_ceiling and ceiling is not None:
            value, floor, ceiling = _distances(value, floor, ceiling)
        found = _score(full_name(key, name), direction, draw, value, ceiling, floor)
        yield (
            found if found.value is not None else found.model_copy(update={"reason": estimates["candidate"].undefined})
        )


def _reading(estimate: Estimate | None, name: str) -> _Reading | None:
    if estimate is None or name not in estimate.values:
        return None
    return _Reading(np.array(estimate.values[name]), estimate.intervals.get(name))


def _distances(
    value: _Reading, floor: _Reading | None, ceiling: _Reading
) -> tuple[_Reading, _Reading | None, _Reading]:
    """How far from the ceiling's own value, half-sample by half-sample; the ceiling is 0 away from itself.

    The interval is that of the signed difference, folded: a distance cannot be negative, and its spread around 0 is not normal.
    """

    def away(reading: _Reading) -> _Reading:
        signed = reading.values - ceiling.values
        around_signed = around(signed[0], signed[1:])
        return _Reading(np.abs(signed), around_signed and _folded(around_signed))

    own = around(0.0, ceiling.values[1:])  # the luck of real rows themselves
    at = _Reading(np.zeros_like(ceiling.values), own and (0.0, own[1]))
    return away(value), floor and away(floor), at


def _folded(interval: Interval) -> Interval:
    low, high = interval
    nearest = 0.0 if low <= 0 <= high else min(abs(low), abs(high))
    return nearest, max(abs(low), abs(high))


def _score(
    name: str, direction: Direction, draw: Draw, value: _Reading, ceiling: _Reading | None, floor: _Reading | None
) -> Score:
    if value.first is None:
        return Score(name=name, value=None, direction=direction, rows=draw.rows, status="undetermined")
    normalised = _normalised(value, floor, ceiling, direction)
    is_covered = draw.covered >= MINIMUM_COVERED
    return Score(
        name=name,
        value=value.first,
        direction=direction,
        floor=floor and floor.first,
        ceiling=ceiling and ceiling.first,
        normalised=normalised and normalised.first,
        interval=value.interval,
        ceiling_interval=ceiling and ceiling.interval,
        normalised_interval=normalised and normalised.interval,
        rows=draw.rows,
        status="ok" if is_covered else "undetermined",
        reason="" if is_covered else f"only {draw.covered:.0%} of its rows have real rows of the same condition",
    )


def _normalised(
    value: _Reading, floor: _Reading | None, ceiling: _Reading | None, direction: Direction
) -> _Reading | None:
    """Floor 0, ceiling 1, replicate by replicate; None where real rows score no better than the floor control."""
    if ceiling is None or floor is None:
        return None
    way = ceiling.values - floor.values
    if not (way[0] > 0 if direction == "higher" else way[0] < 0):
        return None
    share = np.divide(value.values - floor.values, way, out=np.full_like(way, np.nan), where=way != 0)
    return _Reading(share, None)


def _rounded(value: float) -> float:
    """Ten significant digits: more than any score has, and the last bits of a sum stay out of stored results."""
    return float(f"{value:.10g}")
