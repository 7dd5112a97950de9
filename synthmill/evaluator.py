"""The Evaluator contract: one family of measures, and the Score that the runner makes of them.

An evaluator is one file, `evaluators/KIND/NAME.py`, with one subclass of Evaluator; its key is `KIND/NAME`. It measures one
table against another. The runner (scoring/) calls it on the candidate, on real rows in the candidate's place (the ceiling) and on
a control that knows no dependence (the floor), each against the same reference, and many times on half the rows for the interval.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Literal

import pyarrow as pa
from pydantic import BaseModel, ConfigDict

from synthmill.columns import Modality, Schema

Direction = Literal["higher", "lower"]
Against = Literal["holdout", "train", "both"]
Interval = tuple[float, float]
Status = Literal["ok", "undetermined", "failed"]


@dataclass(frozen=True, slots=True)
class Measured:
    """The rows being judged: synthetic, or the stand-in for floor and ceiling. A type, so that it cannot be swapped with Reference."""

    table: pa.Table


@dataclass(frozen=True, slots=True)
class Reference:
    """Real rows to compare with: holdout B, or train for privacy."""

    table: pa.Table


@dataclass(frozen=True, slots=True)
class References:
    """All real rows that an evaluator may read: `holdout` is B, matched in conditions; `train` is cut to as many rows.

    For an evaluator with `against = "train"`, `train` is every train row: they are the given, not a draw.
    """

    schema: Schema
    holdout: Reference
    train: Reference
    features: object | None = None  # what `Evaluator.prepare` returned
    rules: tuple[str, ...] = ()  # the recipe's, SQL over the columns
    protected: str | None = None  # the column that fairness looks at

    def __post_init__(self) -> None:
        if not (isinstance(self.holdout, Reference) and isinstance(self.train, Reference)):
            raise TypeError("references are real rows, marked as Reference; rows to judge go in as Measured")


@dataclass(frozen=True, slots=True)
class Measurement:
    """`scores`: name below the evaluator's key ("" for the key itself) -> value. `tables`: details for the report, name -> rows.

    NaN says that the rows do not define the value (a target that never varies); the score is then `undetermined`, and `undefined`
    says why. `intervals`: 95 % intervals that are known in closed form (a share of rows: Wilson, 1927); the other scores get theirs
    from half-samples. `uncut`: the value before it was cut off at the end of its range, from which half-samples take their spread.
    Tables are aggregates of real rows or hold synthetic rows: they are released.
    """

    scores: Mapping[str, float]
    tables: Mapping[str, pa.Table] = field(default_factory=dict)
    intervals: Mapping[str, Interval] = field(default_factory=dict)
    uncut: Mapping[str, float] = field(default_factory=dict)
    undefined: str = "these rows do not define it"


class Evaluator(ABC):
    """One family of measures; holds nothing but its settings, never changes its inputs."""

    modality: ClassVar[Modality]
    version: ClassVar[int]
    scores: ClassVar[Mapping[str, Direction]]  # every score it gives, by its name below the key, and where better lies
    remedy: ClassVar[str]  # one or two sentences for the report: what to do when it is bad
    against: ClassVar[Against] = (
        "holdout"  # privacy compares with train, or asks which of two equal sides is nearer: both
    )
    has_floor: ClassVar[bool] = True  # privacy has none
    floorless: ClassVar[
        tuple[str, ...]
    ] = ()  # of the scores, those that the floor control keeps: it says nothing of them
    from_ceiling: ClassVar[bool] = False  # more is not better: scored is the distance to the ceiling's own value
    needs_target: ClassVar[bool] = False
    needs_protected: ClassVar[bool] = False
    needs_rules: ClassVar[bool] = False
    joins: ClassVar[bool] = False  # of a child table it sees the parents' columns too, and so what ties the two tables
    replicates: ClassVar[int] = 10  # half-samples for the intervals; 0 where all are known in closed form
    threads: ClassVar[int] = 1
    minimum_rows: ClassVar[int] = 200  # a side; below it the score is undetermined
    maximum_rows: ClassVar[int] = 16_000  # a side; more are not drawn

    def prepare(self, train: pa.Table, schema: Schema, *, seed: int) -> object | None:
        """Work done once on all train rows (a feature extractor, say), handed to every `measure` as `references.features`."""
        return None

    @abstractmethod
    def measure(self, measured: Measured, references: References, *, seed: int) -> Measurement:
        """Compare `measured` with what `against` names. Deterministic in its inputs and seed."""


class Score(BaseModel):
    """One number with what is needed to believe it. `normalised` is 0 at the floor and 1 at the ceiling."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    value: float | None
    direction: Direction = "higher"
    floor: float | None = None
    ceiling: float | None = None
    normalised: float | None = None
    interval: Interval | None = None  # of `value`, 95 %
    ceiling_interval: Interval | None = None
    normalised_interval: Interval | None = None
    rows: int = 0  # a side
    status: Status = "ok"
    reason: str = ""
