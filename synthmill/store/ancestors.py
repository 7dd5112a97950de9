"""Which model a warm start goes on from: the last released one that was fitted on other rows.

Git tells which one that is, so all clones agree on it; one whose state lacks the model starts anew, with a plan of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from synthmill.errors import RunError
from synthmill.plan import Ancestor, FindAncestor, ModelPlan, Plan
from synthmill.store.git import Git
from synthmill.store.models import read_model
from synthmill.store.references import usable
from synthmill.store.shared import Shared, open_shared
from synthmill.store.state import State
from synthmill.store.versions import read_releases
from synthmill.store.workspace import Workspace


class Link(BaseModel):
    """A released model in the line of its kin: the rows that it was fitted on, and what it went on from itself."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: str
    source: str
    train: str
    before: Ancestor | None


def lineage(plan: Plan) -> dict[str, object]:
    """What later runs have to know of the plan's models, kept in metrics/NAME.json: kin -> link."""
    source = plan.source
    return {
        model.kin: Link(
            model=model.fingerprint, source=source.fingerprint, train=source.train, before=model.before
        ).model_dump(mode="json")
        for model in plan.models
        if model.kin is not None
    }


def ancestors(workspace: Workspace, dataset: str) -> FindAncestor:
    """Look through the releases of `dataset` that are not yanked, the latest first.

    One that was fitted on the same rows is this model itself, and has its ancestor. A model or source that state no longer holds, here or
    where other machines see it, is none to go on from: that fit starts anew, and its release says so.
    """
    state = State(workspace.state)

    def are_there(folders: Sequence[Path]) -> bool:
        missing = [folder for folder in folders if not folder.is_dir()]
        return not missing or all(map(open_shared(workspace).has, missing))

    def find(kin: str, train: str) -> Ancestor | None:
        link = next(_links(Git(workspace.root), dataset, kin), None)
        if link is None:
            return None
        if link.train == train:
            return link.before
        is_there = are_there([state.model(link.model), state.source(link.source)])
        return Ancestor(model=link.model, source=link.source) if is_there else None

    return find


def read_ancestor(
    state: State, shared: Shared, model: ModelPlan, task: str, say: Callable[[str], None]
) -> Mapping[str, bytes] | None:
    """The files that a warm start goes on from, None for a fit that starts anew; RunError where the plan names a model that is gone."""
    if model.before is None:
        if model.kin is not None:
            say(f"{task}: starts anew, state has no released model of other rows to go on from")
        return None
    shared.bring_missing(state.model(model.before.model))
    found = read_model(state.model(model.before.model))
    if found is None:
        hint = "bring back the state that made it, or take params.warm_start away to start anew"
        raise RunError(f"the model {model.before.model[:12]} that {task} goes on from is not in state", hint=hint)
    say(f"{task}: goes on from the model {model.before.model[:12]}, of {found[0].train_rows:,} rows")
    return found[1]


def next_ancestors(git: Git) -> list[Ancestor]:
    """What the next warm start of each dataset and kin goes on from, and what that went on from: for these alone state has to be kept."""
    found: dict[tuple[str, str], Link] = {}
    names = {release.dataset for release in read_releases(git)}
    for release in (release for name in sorted(names) for release in usable(git, name)):  # the last one of a kin counts
        models = release.metrics.get("models")
        for kin, entry in models.items() if isinstance(models, Mapping) else ():
            with suppress(ValidationError):
                found[release.dataset, kin] = Link.model_validate(entry)
    own = [Ancestor(model=link.model, source=link.source) for link in found.values()]
    return own + [link.before for link in found.values() if link.before is not None]


def _links(git: Git, dataset: str, kin: str) -> Iterator[Link]:
    """Of one kin; what cannot be read is left out: a person can make a tag too."""
    for release in reversed(usable(git, dataset)):
        models = release.metrics.get("models")
        entry = models.get(kin) if isinstance(models, Mapping) else None
        try:
            yield Link.model_validate(entry)
        except ValidationError:
            continue
