"""What a recipe wants measured and judged, checked against its source before any row is made."""

from __future__ import annotations

import difflib
from collections.abc import Sequence

from synthmill import registry
from synthmill.columns import Schema
from synthmill.errors import RecipeError
from synthmill.evaluator import Evaluator
from synthmill.meetable import named_column
from synthmill.spec import Gate, Recipe, evaluator_of

EVERY = "all"


def fitting(schema: Schema, *, protected: str | None, rules: Sequence[str]) -> tuple[str, ...]:
    """The key of every evaluator that can measure such a table."""
    kinds = {key: registry.evaluator(key) for key in registry.evaluator_keys()}
    return tuple(
        key
        for key, kind in kinds.items()
        if kind.modality == schema.modality
        and not (kind.needs_target and schema.target is None)
        and not (kind.needs_protected and protected is None)
        and not (kind.needs_rules and not rules)
    )


def spelt_out(recipe: Recipe, schema: Schema) -> Recipe:
    """The recipe with the evaluators that `all` stands for; those that it names first stay first."""
    if EVERY not in recipe.scores:
        return recipe
    every = fitting(schema, protected=recipe.source.protected, rules=recipe.rules)
    named = (key for key in recipe.scores if key != EVERY)
    return recipe.model_copy(update={"scores": tuple(dict.fromkeys((*named, *every)))})


def evaluator_versions(recipe: Recipe, schema: Schema) -> dict[str, int]:
    """Key -> version of every evaluator that scores and gates ask for; RecipeError for what cannot be measured or judged."""
    if recipe.source.protected is not None:
        named_column(schema, recipe.source.protected, "source.protected")
    versions = {key: _checked(recipe, key, schema).version for key in recipe.evaluators}
    for where, name, gate in recipe.gates_by_key:
        _check_gate(registry.evaluator(evaluator_of(name)), name, gate, where)
    return versions


def gate_notes(recipe: Recipe) -> list[str]:
    """Gates that are allowed and may not be meant: a bound on a score's better side."""
    notes = []
    for where, name, gate in recipe.gates_by_key:
        own = registry.evaluator(evaluator_of(name)).scores[_below_key(name)]
        direction = "higher" if gate.of == "normalised" else own  # 1 is the ceiling, whichever way the score runs
        if (gate.at_most if direction == "higher" else gate.at_least) is not None:
            side = "at_most" if direction == "higher" else "at_least"
            of = " of normalised" if gate.of == "normalised" else ""
            notes.append(f"{where}: {direction} is better for {name}{of}, so {side} bounds it from its better side")
    return notes


def _checked(recipe: Recipe, key: str, schema: Schema) -> type[Evaluator]:
    asked = [name for name in recipe.gates if evaluator_of(name) == key]
    where = f"scores.{recipe.scores.index(key)}" if key in recipe.scores else f"gates.{asked[0]}"
    kind = registry.evaluator(key, where=where)
    if kind.modality != schema.modality:
        raise RecipeError(f"{key} measures {kind.modality}, the source is {schema.modality}", where=where)
    if kind.needs_target and schema.target is None:
        raise RecipeError(f"{key} needs a target", where=where, hint="name the column to predict under source.target")
    if kind.needs_protected and recipe.source.protected is None:
        hint = "name the column whose groups it compares under source.protected"
        raise RecipeError(f"{key} needs a protected column", where=where, hint=hint)
    return kind


def _check_gate(kind: type[Evaluator], name: str, gate: Gate, where: str) -> None:
    key, below = evaluator_of(name), _below_key(name)
    if below not in kind.scores:
        names = [f"{key}/{other}" if other else key for other in kind.scores]
        near = difflib.get_close_matches(name, names, n=1, cutoff=0.8)
        hint = f"did you mean {near[0]}?" if near else f"it gives {', '.join(names)}"
        raise RecipeError(f"{key} gives no score {name}", where=where, hint=hint)
    if gate.of == "normalised" and (not kind.has_floor or below in kind.floorless):
        hint = "give a bound of the value, or of: ceiling"
        raise RecipeError(f"{name} has no floor, so it has no normalised value", where=where, hint=hint)


def _below_key(name: str) -> str:
    return name.removeprefix(evaluator_of(name)).removeprefix("/")
