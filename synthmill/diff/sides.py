"""One of two datasets to compare: a release, told by git and read from DVC's cache or remote, or a folder with a manifest."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from pydantic import JsonValue, ValidationError

from synthmill.columns import Column
from synthmill.diff.parts import Side
from synthmill.diff.rows import Files
from synthmill.errors import InputError, StorageError, WorkspaceError
from synthmill.evaluator import Score
from synthmill.plan import recipe_json
from synthmill.spec import Recipe
from synthmill.store.earlier import read_earlier
from synthmill.store.git import Git
from synthmill.store.held import Held, Unreachable, hold_of
from synthmill.store.lock import Progress
from synthmill.store.manifest import NAME as MANIFEST
from synthmill.store.manifest import Manifest, read_manifest
from synthmill.store.provenance import Provenance, read_provenance
from synthmill.store.references import resolve, yanked
from synthmill.store.told import read_run
from synthmill.store.workspace import find

_NO_MANIFEST = "write NAME@v1.0.0, NAME@prod or NAME for a release, or a folder that holds manifest.json"


@dataclass(frozen=True, slots=True)
class Dataset:
    """What is known of it: `provenance` from git, `manifest` with the data; either may be missing."""

    side: Side
    scores: tuple[Score, ...]
    recipe: Mapping[str, JsonValue]
    run: Mapping[str, JsonValue]
    provenance: Provenance | None
    manifest: Manifest | None
    place: Held | Path

    def columns(self, child: str | None = None) -> tuple[Column, ...] | None:
        """Of its table or of a child's; None where they are not known."""
        if self.manifest is not None:
            if child is None:
                return self.manifest.schema_.columns
            found = self.manifest.children.get(child)
            return None if found is None else found.schema_.columns
        return self.provenance.columns if child is None and self.provenance is not None else None

    def files(self, child: str | None = None) -> Files:
        """Its files of rows; Unreachable where they are neither here nor on the remote, StorageError where one is missing."""
        if self.manifest is None:
            raise Unreachable(self.side.no_data)
        below = "data/" if child is None else f"{child}/data/"
        named = {
            one.path: one.sha256 for one in self.manifest.files if one.path.startswith(below) and one.rows is not None
        }
        if isinstance(self.place, Held):
            found = self.place.fetch(lambda name: name in named)
        else:
            found = {name: self.place / name for name in named}
        for path in found.values():
            if not path.is_file():
                raise StorageError(
                    "a file of rows is missing", where=str(path), hint="`synthmill verify` lists them all"
                )
        return {named[name]: path for name, path in found.items()}


def read_dataset(text: str, say: Progress) -> Dataset:
    """By a folder that holds manifest.json, else by the name of a release in the workspace around; InputError."""
    folder = Path(text)
    if (folder / MANIFEST).is_file():
        return _of_folder(folder)
    if folder.is_dir() or "/" in text:
        raise InputError("no dataset is there", where=text, hint=_NO_MANIFEST)
    try:
        workspace = find(Path.cwd())
    except WorkspaceError as error:
        raise InputError(
            "this is neither a dataset's folder nor, outside of a workspace, a release", where=text, hint=_NO_MANIFEST
        ) from error
    git = Git(workspace.root)
    release = resolve(git, text)
    earlier, place = read_earlier(git, release), hold_of(workspace, git, release, say)
    manifest, why = _manifest(place)
    run = read_run(git, release)
    side = Side(
        name=release.tag,
        dataset=release.dataset,
        version=str(release.version),
        commit=release.commit,
        date=release.date,
        rows=release.rows if manifest is None else manifest.rows,
        plan=release.identity and release.identity.plan,
        level=str(run["level"]) if "level" in run else manifest and manifest.level,
        withdrawn=yanked(git, release.dataset).get(release.version),
        no_data=why,
    )
    recipe = earlier.recipe or (manifest.recipe if manifest else {})
    return Dataset(side, tuple(earlier.scores.values()), recipe, run, read_provenance(release.metrics), manifest, place)


def _manifest(place: Held) -> tuple[Manifest | None, str]:
    """The manifest, or why there is none."""
    try:
        return place.manifest(), ""
    except (Unreachable, StorageError) as error:
        return None, error.what


def _of_folder(folder: Path) -> Dataset:
    manifest = read_manifest(folder)
    side = Side(
        name=str(folder),
        dataset=manifest.dataset,
        version=None,
        commit=None,
        date=None,
        rows=manifest.rows,
        plan=manifest.plan,
        level=manifest.level,
        withdrawn=None,
        no_data="",
    )
    return Dataset(side, tuple(_scores(folder / "report.json")), _recipe(manifest), {}, None, manifest, folder)


def _recipe(manifest: Manifest) -> Mapping[str, JsonValue]:
    """With today's defaults filled in, so that one of an older release compares."""
    try:
        return recipe_json(Recipe.model_validate_json(json.dumps(manifest.recipe)))
    except ValidationError:
        return manifest.recipe


def _scores(path: Path) -> Iterator[Score]:
    """Those of report.json; older releases have none."""
    try:
        found = json.loads(path.read_bytes())["scores"]
    except (OSError, ValueError, KeyError, TypeError):
        return
    for one in found:
        try:
            yield Score.model_validate(one)
        except ValidationError:
            continue
