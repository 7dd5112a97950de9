"""From a recipe to its plan: the source read and split, every mistake that shows before a fit found. Nothing is written."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from synthmill.child_plan import plan_child, refuse_private
from synthmill.errors import RecipeError, SourceError
from synthmill.plan import Plan, make_plan
from synthmill.recipe_file import at_line
from synthmill.sources import SourceTable, read
from synthmill.sources.children import RealChild, overrides_of, read_family
from synthmill.sources.split import Split, split
from synthmill.spec import Recipe
from synthmill.store.ancestors import ancestors
from synthmill.store.secret import read_secret
from synthmill.store.state import State
from synthmill.store.workspace import Workspace


@dataclass(frozen=True, slots=True)
class Real:
    """The real rows that a recipe names."""

    source: SourceTable
    parts: Split
    children: tuple[RealChild, ...] = ()

    def tables(self, plan: Plan) -> list[tuple[Plan, SourceTable]]:
        """Each table's plan and the rows that were read for it."""
        return [
            (plan, self.source),
            *((own, child.source) for own, child in zip(plan.children, self.children, strict=True)),
        ]

    def plan(self, recipe: Recipe, workspace: Workspace) -> Plan:
        """The recipe resolved against these rows, and against the releases of its dataset."""
        parts, find_ancestor = self.parts, ancestors(workspace, recipe.dataset)
        find_secret = partial(read_secret, State(workspace.state))
        children = [plan_child(recipe, child) for child in self.children]
        plan = make_plan(
            recipe, self.source.schema, parts.train, parts.a, parts.b, find_ancestor, find_secret, children
        )
        refuse_private(plan)
        return plan


def read_real(recipe: Recipe, workspace: Workspace) -> Real:
    """Read and split the recipe's source."""
    root, allowed, wanted = workspace.root, workspace.source_folders, recipe.source
    source = read(wanted.path, root=root, overrides=overrides_of(wanted), target=wanted.target, allowed=allowed)
    parts = split(source.table, source.schema, wanted.holdout, root=root, allowed=allowed)
    family = read_family(recipe, source, parts, root=root, allowed=allowed)
    return Real(family.source, family.parts, family.children)


@contextmanager
def naming_lines(path: Path) -> Iterator[None]:
    """Errors of the block that name a key of the recipe at `path` get its file and line."""
    try:
        yield
    except (RecipeError, SourceError) as error:
        raise at_line(path, error) from error
