"""What is asked of a run, and what of it can be refused before any data is read."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from synthmill.errors import InputError
from synthmill.judging import one_line
from synthmill.publish import relative
from synthmill.recipe_file import load_recipe
from synthmill.sources import find_source
from synthmill.store.workspace import Workspace


@dataclass(frozen=True, slots=True)
class RunRequest:
    """What was asked for on the command line or by a deployment."""

    recipe: Path
    overrides: tuple[str, ...] = ()
    save: bool = False
    place: bool = False
    release: bool = False
    override: str | None = None  # why to release in spite of gates that block

    @property
    def reason(self) -> str | None:
        """The override's reason on one line."""
        return None if self.override is None else one_line(self.override)

    def check(self, workspace: Workspace) -> None:
        """Raise InputError for what is wrong with the recipe or this request, as far as it shows before any data is read."""
        recipe = load_recipe(self.recipe, self.overrides)
        for uri in recipe.uris:
            find_source(uri, workspace.root, workspace.source_folders)
        if self.override is not None:
            one_line(self.override)
            if not (self.place or self.release):
                raise InputError("an override goes with a release", where="--override", hint="add --release or --place")
        if not (self.place or self.release):
            return
        relative(workspace, self.recipe)  # raises now rather than after hours of work
        if not self.save and recipe != load_recipe(self.recipe):
            what = "a release is what its recipe says, and --set changes it"
            raise InputError(what, where=str(self.recipe), hint="--save writes the overrides into the recipe")
