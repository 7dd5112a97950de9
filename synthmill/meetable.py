"""What a recipe asks of its source, and whether any real row could meet it: better refused here than after a fit."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa
import pyarrow.compute as pc

from synthmill.columns import Column, Schema
from synthmill.conditions import Condition, mask
from synthmill.errors import RecipeError
from synthmill.rules import Rules
from synthmill.spec import Recipe

_MAX_STRATA = 10_000


def named_column(schema: Schema, name: str, where: str) -> Column:
    """The column of that name; RecipeError at the key `where` of the recipe where the source has none."""
    if name not in schema:
        raise RecipeError(f"the source has no column {name}", where=where, hint="columns: " + ", ".join(schema.names))
    return schema[name]


def balance_values(column: Column, matching: pa.Table, index: int) -> list[object]:
    """The values that the job of that index is balanced over, sorted; RecipeError where they are no labels, or too many."""
    where = f"jobs.{index}.balance"
    if column.kind not in ("category", "boolean", "integer"):
        is_whole = (
            column.dtype != "double" or pc.all(pc.equal(pc.floor(values := matching[column.name]), values)).as_py()
        )
        labels = f"set source.columns.{column.name}.kind to category if its values are labels"
        hint = (
            labels if is_whole else "fractions have no labels: add a column of classes to the source, and balance that"
        )
        raise RecipeError(f"cannot balance {column.name}, a column of kind {column.kind}", where=where, hint=hint)
    values = sorted(pc.unique(matching[column.name].drop_null()).to_pylist())
    if not 1 <= len(values) <= _MAX_STRATA:
        raise RecipeError(
            f"cannot balance {column.name} over {len(values):,} values; 1 to {_MAX_STRATA:,} work", where=where
        )
    return values


def refuse_unseen(train: pa.Table, column: Column, condition: Condition, where: str) -> None:
    """RecipeError for a value that train never shows, which therefore cannot be made."""
    parts = [Condition.model_validate({"is": v}) for v in condition.in_] if condition.in_ is not None else [condition]
    for part in parts:
        if not pc.any(mask(train[column.name], part, column, where=where)).as_py():
            hint = "check the spelling; conditions can only name values that the source holds"
            raise RecipeError(f"no train row has {column.name} {part.operator} {part}", where=where, hint=hint)


def refuse_impossible(rules: Rules, recipe: Recipe, train: pa.Table, *, holdout: Sequence[pa.Table]) -> None:
    """RecipeError for a rule that no train row meets, since a model of such rows will not meet it either, or that fails on a row."""
    for part in holdout:
        rules.broken(part)  # raises here, and not when the candidate is scored
    for number, broken in enumerate(rules.broken(train)):
        if pc.all(broken).as_py():
            hint = "mend the rule, or drop it"
            raise RecipeError(
                f"no train row meets the rule {recipe.rules[number]!r}", where=f"rules.{number}", hint=hint
            )
