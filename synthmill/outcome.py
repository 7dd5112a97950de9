"""What a run came to: printed as a table for people, as one JSON object for machines."""

from __future__ import annotations

from dataclasses import replace

from pydantic import BaseModel, ConfigDict

from synthmill.evaluator import Score
from synthmill.scoring.gates import Verdict
from synthmill.store.staging import Level


class Scored(BaseModel):
    """Scores of the whole dataset and of each job, and what the gates say of them.

    `override` is the reason that a person gave for releasing in spite of the gates that block; None where none does. `children` are the
    child tables by name.
    `previous` is the version of the release before, with which the report compares.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    scores: tuple[Score, ...]
    by_job: tuple[tuple[Score, ...], ...]
    gates: tuple[Verdict, ...]
    override: str | None = None
    previous: str | None = None
    children: dict[str, ChildScored] = {}

    @property
    def blocked(self) -> tuple[Verdict, ...]:
        """The gates that block, overridden or not; those of children say which."""
        own = tuple(gate for gate in self.gates if gate.blocks)
        below = ((name, gate) for name, child in self.children.items() for gate in child.blocked)
        return (*own, *(replace(gate, name=f"{name}: {gate.name}") for name, gate in below))


class ChildScored(Scored):
    """The same of a child table, of so many rows."""

    rows: int


Scored.model_rebuild()  # it names ChildScored, which is one; without this, heirs in other modules are never complete


class Outcome(Scored):
    """The result of a run. `version` is None until it is released; `path` is where the dataset lies now."""

    dataset: str
    plan: str
    rows: int
    level: Level
    path: str
    version: str | None = None
    is_new: bool = False  # False where the release existed already
    seconds: dict[str, float] = {}
