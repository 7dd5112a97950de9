"""The table of scores: what each number asks, where it lies between floor and ceiling, and what to do where it is low."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from synthmill import registry
from synthmill.evaluator import Evaluator, Interval, Score
from synthmill.scoring.gates import Verdict

# Kinds in the order in which people ask, and of each its evaluators: the headline first, then from the plain to the subtle.
_ORDER: Mapping[str, Sequence[str]] = {
    "fidelity": (
        "c2st",
        "frechet",
        "shape",
        "trend",
        "mutual_information",
        "missing",
        "alpha_precision",
        "c2st_logistic",
    ),
    "diversity": ("prdc",),
    "utility": ("tstr",),
    "privacy": ("copies", "dcr", "membership", "attributes", "outliers"),
    "fairness": ("representation", "outcomes"),
    "validity": ("rules", "bounds", "categories", "dependencies"),
    "quality": (),
}
LOW = 0.7  # normalised; under it the report says what to do
_CROWDED = 60  # percent of a strip's width: floor and ceiling that are nearer have their labels on two lines
_SCALES = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)  # ends of the axis of a share that should be small


@dataclass(frozen=True, slots=True)
class Strip:
    """A score on one line, in percent of its width; better lies to the right."""

    value: float
    low: float
    high: float
    floor: float | None
    ceiling: float | None

    @property
    def is_crowded(self) -> bool:
        """True where the labels of floor and ceiling need a line each."""
        return self.floor is not None and self.ceiling is not None and abs(self.ceiling - self.floor) < _CROWDED


@dataclass(frozen=True, slots=True)
class Line:
    """One score: `name` is the last part of its own. `low` says why it is called low, empty where it is not."""

    score: Score
    name: str
    strip: Strip | None
    verdicts: tuple[Verdict, ...]
    low: str


@dataclass(frozen=True, slots=True)
class Block:
    """One evaluator with all its scores. `remedy` is empty where nothing is low."""

    key: str
    question: str
    lines: tuple[Line, ...]
    remedy: str


@dataclass(frozen=True, slots=True)
class Group:
    """The evaluators of one kind."""

    kind: str
    blocks: tuple[Block, ...]


def group_scores(scores: Sequence[Score], verdicts: Sequence[Verdict] = ()) -> tuple[Group, ...]:
    """The scores by kind and evaluator, kinds in the order in which people ask; an evaluator's headline comes first."""
    by_key: dict[str, list[Line]] = {}
    for score in sorted(scores, key=_score_rank):
        judged = tuple(verdict for verdict in verdicts if verdict.name == score.name)
        name = score.name.rpartition("/")[2].replace("_", " ")
        line = Line(score, name, strip(score), judged, _why_low(score, judged))
        by_key.setdefault(key_of(score.name)[0], []).append(line)
    by_kind: dict[str, list[Block]] = {}
    for key, lines in by_key.items():
        remedy = _class_of(key).remedy if any(line.low for line in lines) else ""
        by_kind.setdefault(key.partition("/")[0], []).append(Block(key, question(key), tuple(lines), remedy))
    return tuple(Group(kind, tuple(blocks)) for kind, blocks in by_kind.items())


def rank(key: str) -> tuple[int, str, int, str]:
    """Where an evaluator stands among all; those of others follow ours, by name."""
    kind, _, own = key.partition("/")
    kinds, names = list(_ORDER), _ORDER.get(kind, ())
    place = kinds.index(kind) if kind in kinds else len(kinds)
    return place, kind, names.index(own) if own in names else len(names), own


def _score_rank(score: Score) -> tuple[tuple[int, str, int, str], bool]:
    key, part = key_of(score.name)
    return rank(key), bool(part)


def key_of(name: str) -> tuple[str, str]:
    """The evaluator's key of a score or a table, and the rest of its name."""
    kind, own, *part = name.split("/", 2)
    return f"{kind}/{own}", "".join(part)


def question(key: str) -> str:
    """What an evaluator asks: the first line of its file."""
    module = sys.modules[_class_of(key).__module__]
    return (inspect.getdoc(module) or "").partition("\n")[0]


def _class_of(key: str) -> type[Evaluator]:
    return registry.evaluator(key)


def _why_low(score: Score, verdicts: Sequence[Verdict]) -> str:
    if any(verdict.status == "missed" for verdict in verdicts):
        return "a gate was missed"
    if score.status != "ok":
        return ""
    if score.normalised is not None and score.normalised < LOW:
        return f"normalised {score.normalised:.2f}, under {LOW:g}"
    if score.interval and score.ceiling_interval and _is_worse(score.interval, score.ceiling_interval, score):
        return "clearly worse than real rows in its place"
    return ""


def _is_worse(own: Interval, other: Interval, score: Score) -> bool:
    return own[1] < other[0] if score.direction == "higher" else own[0] > other[1]


def strip(score: Score) -> Strip | None:
    """None where there is no value to show."""
    if score.value is None:
        return None
    low, high = score.interval or (score.value, score.value)
    start, end = _ends(score, (low, high))
    if score.direction == "lower":
        start, end = end, start

    def place(mark: float) -> float:
        return round(2 + 96 * min(max((mark - start) / (end - start), 0.0), 1.0), 2)

    floor, ceiling = (None if mark is None else place(mark) for mark in (score.floor, score.ceiling))
    left, right = sorted([place(low), place(high)])
    return Strip(place(score.value), left, right, floor, ceiling)


def _ends(score: Score, reach: Interval) -> tuple[float, float]:
    """From floor to ceiling where they differ as they should; else the range of a share; else what there is."""
    marks = [mark for mark in (score.value, score.floor, score.ceiling) if mark is not None]
    low, high = min(*marks, *reach), max(*marks, *reach)
    if score.normalised is None and 0 <= min(marks) <= max(marks) <= 1:
        return 0.0, 1.0 if score.direction == "higher" else next((s for s in _SCALES if s >= high), 1.0)
    return (low, high) if low < high else (low - 1, high + 1)
