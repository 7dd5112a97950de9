"""Geometry of the report's charts, worked out here so that the template only draws. Lengths are in the units of an SVG view box."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from synthmill.evaluator import Score
from synthmill.scoring.histograms import Histogram

STRIP_WIDTH = 240.0
CHART_WIDTH, CHART_HEIGHT = 300.0, 90.0
_MARGIN = 6.0


@dataclass(frozen=True, slots=True)
class Strip:
    """A score on one line: x of its floor, ceiling, interval and value; None where there is none."""

    floor: float | None
    ceiling: float | None
    low: float
    high: float
    value: float


@dataclass(frozen=True, slots=True)
class Bar:
    """One bin: where it stands, how high synthetic and real reach, and what to say of it."""

    x: float
    width: float
    synthetic: float
    real: float
    label: str
    counts: tuple[int, int]


@dataclass(frozen=True, slots=True)
class Chart:
    """One column: its bars from left to right."""

    column: str
    kind: str
    is_discrete: bool
    bars: tuple[Bar, ...]


def strip(score: Score) -> Strip | None:
    """None where there is no value to show."""
    if score.value is None:
        return None
    low, high = score.interval or (score.value, score.value)
    marks = [mark for mark in (score.floor, score.ceiling, low, high, score.value) if mark is not None]
    start, reach = min(marks), max(marks) - min(marks) or 1.0

    def x(mark: float) -> float:
        return round(_MARGIN + (STRIP_WIDTH - 2 * _MARGIN) * (mark - start) / reach, 2)

    floor, ceiling = (None if mark is None else x(mark) for mark in (score.floor, score.ceiling))
    return Strip(floor, ceiling, x(low), x(high), x(score.value))


def chart(histogram: Histogram) -> Chart:
    """Bars scaled to shares of each side, so that sides of different size compare; labels lie in rows, amounts in columns."""
    shares = [_shares(side) for side in (histogram.synthetic, histogram.real)]
    highest = max([*shares[0], *shares[1]], default=0.0) or 1.0
    is_discrete = histogram.kind in ("category", "boolean")
    length = CHART_WIDTH / 2 if is_discrete else CHART_HEIGHT
    width = round(CHART_WIDTH / max(len(histogram.bins), 1), 2)
    bars = tuple(
        Bar(
            x=round(i * width, 2),
            width=width,
            synthetic=round(length * shares[0][i] / highest, 2),
            real=round(length * shares[1][i] / highest, 2),
            label=label,
            counts=(histogram.synthetic[i], histogram.real[i]),
        )
        for i, label in enumerate(histogram.bins)
    )
    return Chart(histogram.column, histogram.kind, is_discrete, bars)


def _shares(counts: Sequence[int]) -> list[float]:
    total = sum(counts) or 1
    return [count / total for count in counts]
