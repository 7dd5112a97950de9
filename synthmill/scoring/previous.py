"""An earlier release of the dataset, as far as a gate and a report compare with it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pydantic import JsonValue

from synthmill.evaluator import Score


@dataclass(frozen=True, slots=True)
class PreviousRelease:
    """What git tells of a release: `scores` by name, of the whole dataset, with the intervals that it was released with.

    `recipe` is the recipe with every default filled in; empty where it is of a format that is no longer read.
    """

    version: str  # such as v1.2.0
    rows: int | None  # None for a tag that Synthmill did not make
    scores: Mapping[str, Score]
    recipe: Mapping[str, JsonValue]
