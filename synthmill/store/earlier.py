"""Earlier releases as git tells them: what gates and reports compare a candidate with."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from pydantic import JsonValue, ValidationError

from synthmill.errors import RecipeError
from synthmill.evaluator import Score
from synthmill.plan import Plan, recipe_json
from synthmill.recipe_file import read_recipe
from synthmill.scoring.previous import PreviousRelease
from synthmill.store.git import Git
from synthmill.store.stage import read_recipe_path
from synthmill.store.versions import Release, read_releases

LATEST = "latest"


def earlier_releases(git: Git, plan: Plan) -> dict[str, PreviousRelease | None]:
    """`latest` and every version that a gate names; RecipeError for a version that does not exist.

    The latest release is the last one of another plan, so that a second run of a released plan is judged as its first was.
    """
    found = read_releases(git, plan.recipe.dataset)
    others = [release for release in found if release.identity is None or release.identity.plan != plan.fingerprint]
    earlier: dict[str, PreviousRelease | None] = {LATEST: read_earlier(git, others[-1]) if others else None}
    versions = {str(release.version): release for release in found}
    for where, _, gate in plan.recipe.gates_by_key:
        version = gate.not_worse_than
        if version is None or version in earlier:
            continue
        if version not in versions:
            there = f"there are {', '.join(versions)}" if versions else "it has no release yet"
            what = f"{plan.recipe.dataset} has no release {version}"
            raise RecipeError(what, where=where, hint=f"{there}; or say latest")
        earlier[version] = read_earlier(git, versions[version])
    return earlier


def read_earlier(git: Git, release: Release) -> PreviousRelease:
    """One release; scores that cannot be read are left out, and a recipe that cannot is empty."""
    entries = release.metrics.get("scores")
    scores = [_score(name, entry) for name, entry in (entries if isinstance(entries, Mapping) else {}).items()]
    by_name = {score.name: score for score in scores if score is not None}
    return PreviousRelease(str(release.version), release.rows, by_name, _recipe(git, release))


def _score(name: str, entry: object) -> Score | None:
    """None for what is no score of ours: a person can make a tag too. Format 1 had value and normalised alone."""
    if not isinstance(entry, Mapping):
        return None
    try:
        return Score.model_validate({"name": name, **{key: entry[key] for key in Score.model_fields if key in entry}})
    except ValidationError:
        return None


def _recipe(git: Git, release: Release) -> Mapping[str, JsonValue]:
    stages = git.read(release.commit, "dvc.yaml")
    path = None if stages is None else read_recipe_path(stages.decode(), release.dataset)
    content = None if path is None else git.read(release.commit, path)
    if path is None or content is None:
        return {}
    try:
        return recipe_json(read_recipe(content, Path(path)))
    except RecipeError:  # of a format, or with a key, that is no longer read
        return {}
