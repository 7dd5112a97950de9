"""What a comparison of two datasets says, in the form in which `synthmill diff --json` prints it."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, JsonValue

from synthmill.evaluator import Score
from synthmill.scoring.histograms import Histogram

FORMAT: Literal[1] = 1


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Counts(_Frozen):
    """Rows then and now, and of them: in both (`changed` with other cells), gone and added. `name` is a stratum's or a job's."""

    name: str
    then: int
    now: int
    both: int
    changed: int
    gone: int
    added: int


class Rows(_Frozen):
    """A table's rows by `_row_id`: all, by job, by stratum."""

    all: Counts
    jobs: tuple[Counts, ...]
    strata: tuple[Counts, ...]


class ColumnChange(_Frozen):
    """One column of the schema that is not what it was; `then` and `now` in words."""

    column: str
    turn: Literal["added", "gone", "changed"]
    then: str | None
    now: str | None


class Shift(_Frozen):
    """One column's distributions: their distance 0..1, by its name, and what two samples of one population reach by chance at most."""

    column: str
    kind: str
    measure: Literal["KS", "TVD"]
    distance: float
    by_chance: float
    is_shift: bool
    missing_then: float
    missing_now: float


class Shifts(_Frozen):
    """The columns, shifted ones first, then by distance; measured on so many rows a side. `not_compared` says why by column."""

    rows_then: int
    rows_now: int
    columns: tuple[Shift, ...]
    not_compared: dict[str, str]


class Table(_Frozen):
    """One table of the two datasets. None is what could not be compared: data is out of reach, or only one side has the table."""

    name: str
    turn: Literal["kept", "added", "gone"]
    columns: tuple[ColumnChange, ...] | None
    rows: Rows | None = None
    shifts: Shifts | None = None


class ScoreChange(_Frozen):
    """One score; it turned where the interval of the difference leaves 0 out."""

    name: str
    turn: str
    then: Score | None
    now: Score | None


class Change(_Frozen):
    """One thing that has another value; None where a side does not have it."""

    name: str
    then: JsonValue
    now: JsonValue


class Side(_Frozen):
    """One of the two datasets. `no_data` says why its rows could not be read; empty where they were."""

    name: str
    dataset: str
    version: str | None
    commit: str | None
    date: str | None
    rows: int | None
    plan: str | None
    level: str | None
    withdrawn: str | None
    no_data: str


class Difference(_Frozen):
    """All of it. `recipe` is None where a side's recipe is of a format that is no longer read."""

    format: Literal[1] = FORMAT
    headline: str
    then: Side
    now: Side
    tables: tuple[Table, ...]
    scores: tuple[ScoreChange, ...]
    recipe: tuple[Change, ...] | None
    code: tuple[Change, ...]
    usage: tuple[Change, ...]


class Compared(_Frozen):
    """The difference, and what only the page draws: now as `synthetic`, then as `real`."""

    difference: Difference
    histograms: dict[str, tuple[Histogram, ...]]
