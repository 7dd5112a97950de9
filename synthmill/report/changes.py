"""What changed since the last release: scores then and now, rows, and the recipe's keys."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from pydantic import JsonValue

from synthmill.evaluator import Score
from synthmill.scoring.gates import difference
from synthmill.scoring.previous import PreviousRelease

Turn = Literal["better", "worse", "no clear change", "new", "gone"]
_ABSENT = "not given"


@dataclass(frozen=True, slots=True)
class ScoreChange:
    """One score then and now. It turned only where the interval of the difference leaves 0 out."""

    name: str
    then: Score | None
    now: Score | None
    turn: Turn


@dataclass(frozen=True, slots=True)
class KeyChange:
    """One key of the recipe, with its values as JSON."""

    key: str
    then: str
    now: str


@dataclass(frozen=True, slots=True)
class Changes:
    """Everything that differs from `version`; `rows` is None where the tag does not say."""

    version: str
    rows: int | None
    scores: tuple[ScoreChange, ...]
    keys: tuple[KeyChange, ...]


def compare(previous: PreviousRelease, scores: Sequence[Score], recipe: Mapping[str, JsonValue]) -> Changes:
    """`recipe` is that of now, with every default filled in."""
    now = {score.name: score for score in scores}
    names = [*now, *(name for name in previous.scores if name not in now)]
    changed = [(name, previous.scores.get(name), now.get(name)) for name in names]
    then_keys, now_keys = dict(_leaves(previous.recipe)), dict(_leaves(recipe))
    keys = [
        KeyChange(key, then_keys.get(key, _ABSENT), now_keys.get(key, _ABSENT))
        for key in sorted({*then_keys, *now_keys})
        if then_keys and now_keys and then_keys.get(key) != now_keys.get(key)
    ]
    return Changes(
        previous.version,
        previous.rows,
        tuple(ScoreChange(name, then, now, _turn(then, now)) for name, then, now in changed),
        tuple(keys),
    )


def _turn(then: Score | None, now: Score | None) -> Turn:
    """By the interval of the difference, as gates read it."""
    if then is None or now is None:
        return "new" if then is None else "gone"
    if then.value is None or now.value is None or then.interval is None or now.interval is None:
        return "no clear change"
    low, high = difference((now.value, now.interval), (then.value, then.interval))
    if low <= 0 <= high:
        return "no clear change"
    return "better" if (low > 0) == (now.direction == "higher") else "worse"


def _leaves(value: JsonValue | Mapping[str, JsonValue], path: str = "") -> Iterator[tuple[str, str]]:
    """Every value of a recipe by its path, as `jobs.0.rows`."""
    parts: Iterator[tuple[object, JsonValue]] = iter(())
    if isinstance(value, Mapping):
        parts = iter(value.items())
    elif isinstance(value, list):
        parts = enumerate(value)
    else:
        yield path, json.dumps(value, ensure_ascii=False)
    for key, part in parts:
        yield from _leaves(part, f"{path}.{key}" if path else str(key))
