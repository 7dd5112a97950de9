"""Where a candidate comes from, kept beside it: enough to release it later without making, or even reading, anything again."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict

from synthmill.errors import InputError
from synthmill.fingerprint import hash_file, hash_folder
from synthmill.measures import spelt_out
from synthmill.plan import Plan
from synthmill.recipe_file import load_recipe
from synthmill.sources import is_file_source
from synthmill.spec import Recipe
from synthmill.store.workspace import Workspace


class Origin(BaseModel):
    """A candidate's plan, its recipe's file, and the SHA-256 of the files that its source names."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal[1] = 1
    plan: Plan
    recipe: str  # relative to the workspace where it lies in it
    sources: dict[str, str]


def origin_of(workspace: Workspace, plan: Plan, recipe: Path) -> Origin:
    """Hashes the source's files as they are now."""
    path = recipe.resolve()
    inside = path.is_relative_to(workspace.root)
    return Origin(
        plan=plan,
        recipe=(path.relative_to(workspace.root) if inside else path).as_posix(),
        sources=_hashes(workspace.root, plan.recipe),
    )


def refuse_changes(workspace: Workspace, origin: Origin) -> None:
    """InputError where recipe or source say something else by now, since a release claims to come from both."""
    recipe = workspace.root / origin.recipe
    again = f"`synthmill run {origin.recipe}` makes a new candidate; or undo the change and approve this one"
    if spelt_out(load_recipe(recipe), origin.plan.source.schema_) != origin.plan.recipe:
        raise InputError(
            "the recipe says something else than this candidate was made of", where=str(recipe), hint=again
        )
    now = _hashes(workspace.root, origin.plan.recipe)
    for uri, sha256 in origin.sources.items():
        if now.get(uri) != sha256:
            raise InputError("the source has changed since this candidate was made", where=uri, hint=again)


def _hashes(root: Path, recipe: Recipe) -> dict[str, str]:
    places = {uri: root / uri for uri in recipe.uris if is_file_source(uri)}
    return {
        uri: hash_folder(path) if path.is_dir() else hash_file(path) for uri, path in places.items() if path.exists()
    }
