"""Recipes that promise differential privacy, and what they may not ask for: whatever would be read off the rows without noise.

The promise is of data/ alone. What is outside of it is listed in `OUTSIDE`, for manifest, card and report. Fingerprints of a private
plan depend on the source through a secret of the workspace: a plain hash in a manifest would tell who knows all rows but one whether
that one is there.
"""

from __future__ import annotations

import hmac
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Self

import pyarrow as pa
import pyarrow.compute as pc

from synthmill.columns import Column, Schema
from synthmill.conditions import Condition, typed
from synthmill.domains import labels, limits
from synthmill.errors import RecipeError
from synthmill.generator import Params, Promise
from synthmill.spec import Recipe

OUTSIDE = (
    "scores and metrics, and whether a gate let the release through",
    "report.html, report.json and README.md",
    "of manifest.json: sizes and hashes of these three files, and the gates of an override",
    "the hashes in dvc.lock, of the source file and of the released folder",
)


@dataclass(frozen=True, slots=True)
class Secret:
    """What a workspace's state alone knows, 32 random bytes: all noise comes from it, so who learns it learns the rows."""

    key: bytes = field(repr=False)

    @classmethod
    def fresh(cls) -> Self:
        """One that nothing was made from yet."""
        return cls(os.urandom(32))

    def hash(self, *parts: str) -> str:
        """64 hex digits that nobody without the key can tell from chance, the same ones each time."""
        return hmac.new(self.key, "\0".join(parts).encode(), "sha256").hexdigest()

    def noise_key(self, model: str, device: str) -> bytes:
        """What the noise of one model's fit comes from: so the same fit is made again for nothing, and another one by noise of its own.

        One on another kind of device is another one: it rounds differently, and the difference of two fits with the same noise has none.
        """
        return hmac.new(self.key, f"noise\0{model}\0{device}".encode(), "sha256").digest()


def refuse_leaks(
    recipe: Recipe, schema: Schema, train_rows: int, promises: Sequence[Promise | None], params: Sequence[Params]
) -> None:
    """RecipeError for what a recipe with a promise may not have; `promises` and `params` are those of the jobs."""
    if not any(promises):
        return
    for index, promise in enumerate(promises):
        where = f"jobs.{index}.params"
        if promise is None:
            what = f"another job promises an epsilon, and the rows of {recipe.jobs[index].generator} here promise none"
            raise RecipeError(what, where=where, hint="give all jobs an epsilon, or make a dataset of its own")
        if promise.delta * train_rows >= 1:
            what = f"a delta of {promise.delta:g} lets a private fit show a whole row"
            raise RecipeError(what, where=f"{where}.delta", hint="take far less than one over the rows of train")
        if getattr(params[index], "warm_start", False):
            hint = "each fit spends its epsilon anew: start without the last model"
            raise RecipeError("an epsilon does not go with warm_start", where=f"{where}.warm_start", hint=hint)
        if getattr(params[index], "max_minutes", None) is not None:
            hint = "set params.steps: fits that a clock ends differ, and those of one plan share their noise"
            raise RecipeError("an epsilon does not go with max_minutes", where=f"{where}.max_minutes", hint=hint)
    if recipe.accept.copies_of_train == "reject":
        hint = "count, the default: which rows are left out would tell what train holds"
        raise RecipeError("an epsilon does not go with rejecting copies", where="accept.copies_of_train", hint=hint)
    if recipe.release.include_real:
        hint = "leave it out: real rows beside private ones undo the promise"
        raise RecipeError("an epsilon does not go with real rows", where="release.include_real", hint=hint)
    _refuse_undescribed(recipe, schema)


def _refuse_undescribed(recipe: Recipe, schema: Schema) -> None:
    """RecipeError where the recipe does not describe a column, naming all of them; that one holds ids must be said, not seen."""
    ids = {name for name, override in recipe.source.columns.items() if override.kind == "id"}
    missing = [column.name for column in schema if column.domain is None and column.name not in ids]
    if missing:
        raise RecipeError(
            f"an epsilon needs each column's bounds or values from the recipe; it gives none for {', '.join(missing)}",
            where="source.columns",
            hint=f"for example {missing[0]}: {{bounds: [0, 100]}}, or values: [...], from what is publicly known",
        )


def without_sight_of_ids(schema: Schema) -> Schema:
    """The schema with what rows alone say of ids, that some are missing, left out: made ids never are."""
    columns = (c.model_copy(update={"nullable": False}) if c.kind == "id" else c for c in schema)
    return schema.model_copy(update={"columns": tuple(columns)})


def stated_values(column: Column, where: str) -> list[object]:
    """The labels to balance over, by the recipe alone."""
    known = labels(column)
    if known is None:
        hint = f"list the values of source.columns.{column.name}, or drop the balance"
        raise RecipeError(f"cannot balance {column.name} under an epsilon without its values", where=where, hint=hint)
    return [*known.to_pylist()]


def refuse_unstated(column: Column, condition: Condition, where: str) -> None:
    """RecipeError for a condition on what the recipe says cannot be."""
    wanted = typed(condition.given, column, where=where)
    known, ends = labels(column), limits(column)
    is_there = True
    if known is not None:
        is_there = pc.all(pc.is_in(wanted, value_set=known)).as_py()
    elif ends is not None:
        is_there = pc.all(pc.and_(pc.greater_equal(wanted, ends[0]), pc.less_equal(wanted, ends[1]))).as_py()
    if not is_there:
        hint = f"conditions name values of source.columns.{column.name}"
        raise RecipeError(
            f"{column.name} {condition.operator} {condition} is not in its domain", where=where, hint=hint
        )


def stated_cells(where: Mapping[str, Condition], schema: Schema, names: Sequence[str]) -> pa.Table:
    """One row of the single values that conditions name, in place of values drawn from train."""
    return pa.table({name: typed(where[name].given, schema[name]) for name in names})
