"""The recipe: one YAML file, one dataset. Frozen, and an unknown key is an error with its line and the nearest known key."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue, StringConstraints, model_validator

from synthmill.columns import Kind, Value
from synthmill.conditions import Condition

_NAME = r"^[a-z]([a-z0-9-]*[a-z0-9])?$"
_KEY = r"^[a-z][a-z0-9_]*/[a-z][a-z0-9_]*$"
_ASKED = r"^(all|[a-z][a-z0-9_]*/[a-z][a-z0-9_]*)$"
_SCORE = r"^[a-z][a-z0-9_]*(/[a-z][a-z0-9_]*){1,2}$"
_EARLIER = r"^(latest|v\d+\.\d+\.\d+)$"
PATTERN_WORDS = {
    _NAME: "must be small letters, digits and dashes, a letter first and no dash last",
    _KEY: "must be a key such as table/vae or fidelity/shape; `synthmill list` shows them",
    _ASKED: "must be a key such as fidelity/shape, or all; `synthmill list` shows them",
    _SCORE: "must be a score such as fidelity/shape or privacy/membership/tpr; `synthmill list` shows them",
    _EARLIER: "must be latest or a version such as v1.2.0",
}
Name = Annotated[str, StringConstraints(pattern=_NAME, max_length=64)]
Key = Annotated[str, StringConstraints(pattern=_KEY)]
Asked = Annotated[str, StringConstraints(pattern=_ASKED)]
ScoreName = Annotated[str, StringConstraints(pattern=_SCORE)]
Earlier = Annotated[str, StringConstraints(pattern=_EARLIER)]


class Part(BaseModel):
    """What every part of a recipe shares."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, populate_by_name=True)


class ColumnOverride(Part):
    """What the person knows better than the inference."""

    kind: Kind | None = Field(default=None, description="how the column is modelled and measured")
    bounds: tuple[Value, Value] | None = Field(
        default=None, description="lowest and highest value; cells beyond are moved to the nearer one"
    )
    values: Annotated[tuple[Value, ...], Field(min_length=1, max_length=100_000)] | None = Field(
        default=None, description="the labels there are; any other cell is missing"
    )
    missing: bool = Field(
        default=False,
        description="with bounds or values: whether cells may be missing; rows that miss one are left out",
    )
    decimals: int | None = Field(default=None, ge=0, le=12, description="with bounds of fractions: how many digits")

    @model_validator(mode="after")
    def _whole_or_not_at_all(self) -> ColumnOverride:
        if self.bounds is not None and self.values is not None:
            raise ValueError("give bounds or values, not both")
        if self.bounds is None and self.values is None and (self.missing or self.decimals is not None):
            raise ValueError("missing and decimals go with bounds or values")
        return self


class HoldoutBy(Part):
    """All rows with one value of a column go to one side, so that a person or a shop is never on both."""

    by: str = Field(description="the column whose values stay together")


class HoldoutAfter(Part):
    """Train on the past, hold out what came after."""

    after: str = Field(description="ISO date; later rows are the holdout")
    column: str | None = Field(default=None, description="needed where there are several date columns")


Holdout = Annotated[float, Field(gt=0, lt=1)] | HoldoutBy | HoldoutAfter | str


class Source(Part):
    """The real data."""

    path: str = Field(
        min_length=1, description="csv, tsv, jsonl, parquet, a folder of images, sklearn:NAME, statsmodels:NAME"
    )
    target: str | None = Field(default=None, description="the column that utility is measured on")
    protected: str | None = Field(default=None, description="the column whose groups fairness compares")
    key: str | None = Field(
        default=None, description="the column that names each row, where children have rows that belong to it"
    )
    holdout: Holdout = Field(default=0.2, description="a share, {by: COLUMN}, {after: DATE}, or a file of its own")
    columns: dict[str, ColumnOverride] = Field(default_factory=dict, description="overrides of the inferred types")


class Job(Part):
    """One generator asked for a number of accepted rows, under conditions."""

    generator: Key = Field(description="its file: table/vae is generators/table/vae.py")
    rows: int = Field(ge=1, le=10**12, description="accepted rows to make, exactly")
    balance: str | None = Field(default=None, description="a column whose train values get equal shares")
    where: dict[str, Condition] = Field(default_factory=dict, description="conditions that every row meets")
    params: dict[str, JsonValue] = Field(default_factory=dict, description="the generator's own parameters")

    @model_validator(mode="after")
    def _one_way_to_say_it(self) -> Job:
        if self.balance is not None and self.balance in self.where:
            raise ValueError(f"balance and where both name {self.balance}; keep one")
        return self


class Accept(Part):
    """Which candidates become rows, and when to give up."""

    unique: bool = Field(default=False, description="drop rows equal to an earlier one of the same job")
    copies_of_train: Literal["count", "reject"] = Field(default="count", description="rows equal to a train row")
    candidates_per_row: float = Field(
        default=20.0, ge=1, le=1e6, description="stop a stratum after this many candidates a row"
    )
    max_failed: float = Field(
        default=0.001, ge=0, le=1, description="share of a job's candidates that failures may cost"
    )


class ChildSource(Part):
    """The real rows of a second table: each belongs to the row of the first one whose key its column `parent` holds."""

    path: str = Field(min_length=1, description="csv, tsv, jsonl or parquet")
    parent: str = Field(description="the column that holds the key of the row it belongs to")
    target: str | None = Field(default=None, description="the column that utility is measured on")
    protected: str | None = Field(default=None, description="the column whose groups fairness compares")
    columns: dict[str, ColumnOverride] = Field(default_factory=dict, description="overrides of the inferred types")


class ChildAccept(Part):
    """Which candidates become children, and when to give up."""

    copies_of_train: Literal["count", "reject"] = Field(default="count", description="rows equal to a train row")
    candidates_per_row: int = Field(default=20, ge=1, le=1000, description="attempts at one row before the run stops")


class Gate(Part):
    """A bound on a score: raw, relative to the ceiling, on the scale from floor (0) to ceiling (1), or what an earlier release had."""

    at_least: float | None = None
    at_most: float | None = None
    of: Literal["value", "ceiling", "normalised"] = "value"
    not_worse_than: Earlier | None = Field(
        default=None, description="latest, or a version such as v1.2.0: not worse by more than both intervals"
    )
    action: Literal["block", "warn"] = Field(default="block", description="what a miss does to the release")

    @model_validator(mode="after")
    def _one_bound(self) -> Gate:
        if sum(bound is not None for bound in (self.at_least, self.at_most, self.not_worse_than)) != 1:
            raise ValueError("give exactly one of at_least, at_most, not_worse_than")
        if self.not_worse_than is not None and self.of != "value":
            raise ValueError("not_worse_than compares normalised values where there are any; leave out of")
        return self


Gates = dict[ScoreName, Gate | Annotated[tuple[Gate, ...], Field(min_length=1)]]
_ASKED_SCORES = "evaluators to run, or all that fit: [all]; those that a gate names are added"
_RULES = "SQL boolean expressions over the columns; NULL passes"


class Child(Part):
    """A second table, each of its rows made for one row of the first: as many a row as its `_NAME` says."""

    source: ChildSource
    generator: Key = Field(description="one that keeps any given cell exactly, such as table/llm")
    params: dict[str, JsonValue] = Field(default_factory=dict, description="the generator's own parameters")
    rules: tuple[str, ...] = Field(default=(), max_length=1000, description=f'{_RULES}; parent\'s are "parent.NAME"')
    accept: ChildAccept = ChildAccept()
    scores: tuple[Asked, ...] = Field(default=(), description=_ASKED_SCORES)
    gates: Gates = Field(default_factory=dict, description="a bound, or a list of bounds, for a score or a part of one")


class ReleaseOptions(Part):
    """How the dataset is written and described."""

    rows_per_file: int = Field(default=100_000, ge=1, le=10**8)
    include_real: bool = Field(default=False, description="also ship the train rows, in data-real/")
    licence: str | None = Field(default=None, description="SPDX identifier, an URL, or words of your own")
    description: str = Field(default="", max_length=10_000, description="what the data is, in the card")
    intended_use: str = Field(default="", max_length=10_000, description="what the data is for, in the card")
    limits: str = Field(default="", max_length=10_000, description="what the data is not good for, in the card")


class Recipe(Part):
    """A recipe. Everything has a default but `dataset`, `source.path` and one job."""

    format: Literal[1] = 1
    dataset: Name = Field(description="name of the released dataset")
    source: Source
    seed: int = Field(default=0, ge=0, lt=2**63)
    jobs: tuple[Job, ...] = Field(min_length=1, max_length=1000)
    children: dict[Name, Child] = Field(default_factory=dict, description="tables whose rows belong to this one's")
    rules: tuple[str, ...] = Field(default=(), max_length=1000, description=_RULES)
    accept: Accept = Accept()
    scores: tuple[Asked, ...] = Field(default=(), description=_ASKED_SCORES)
    gates: Gates = Field(default_factory=dict, description="a bound, or a list of bounds, for a score or a part of one")
    release: ReleaseOptions = ReleaseOptions()

    @model_validator(mode="after")
    def _children_have_a_parent(self) -> Recipe:
        if self.children and self.source.key is None:
            raise ValueError("children belong to rows that have a key; name its column under source.key")
        if taken := {"data", "data-real"} & self.children.keys():
            raise ValueError(f"{taken.pop()} is the folder of this table's own rows; call the child something else")
        return self

    @property
    def uris(self) -> tuple[str, ...]:
        """Where all of the real data is: the source, a holdout of its own, the children."""
        own = [self.source.path, *([self.source.holdout] if isinstance(self.source.holdout, str) else [])]
        return (*own, *(child.source.path for child in self.children.values()))

    @property
    def gates_by_key(self) -> tuple[tuple[str, str, Gate], ...]:
        """(the gate's dotted key in the recipe, the score's name, the gate), in the recipe's order."""
        found: list[tuple[str, str, Gate]] = []
        for name, gates in self.gates.items():
            if isinstance(gates, Gate):
                found.append((f"gates.{name}", name, gates))
            else:
                found += [(f"gates.{name}.{index}", name, gate) for index, gate in enumerate(gates)]
        return tuple(found)

    @property
    def evaluators(self) -> tuple[str, ...]:
        """The evaluators asked for by scores and gates, each once, in the recipe's order; a plan's recipe has no `all` any more."""
        return tuple(dict.fromkeys((*self.scores, *map(evaluator_of, self.gates))))


def evaluator_of(score: str) -> str:
    """The key of the evaluator that gives a score: `privacy/membership` of `privacy/membership/tpr`."""
    return "/".join(score.split("/")[:2])
