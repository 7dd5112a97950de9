"""Recipe files: YAML loaded safely, overrides from the command line, errors with file, line and the nearest known key."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from datetime import date, datetime
from io import StringIO
from pathlib import Path
from typing import Any

from pydantic import JsonValue, ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from synthmill.errors import InputError, RecipeError
from synthmill.problems import Location, first_problem
from synthmill.spec import Recipe

_MAX_BYTES = 1 << 20
_MAX_NODES = 100_000  # aliases can make a small file explode


def load_recipe(path: Path, overrides: Sequence[str] = ()) -> Recipe:
    """Read and check a recipe; `overrides` are KEY=VALUE with dotted keys and YAML values: `jobs.0.rows=500`."""
    return _check(_read(path), path, overrides)


def read_recipe(raw: bytes, path: Path) -> Recipe:
    """The same from the bytes of a recipe that `path` held, in an earlier commit."""
    return _check(_parse(raw, path), path, ())


def _check(tree: CommentedMap, path: Path, overrides: Sequence[str]) -> Recipe:
    for override in overrides:
        apply_override(tree, override)
    try:
        plain = _plain(tree, iter(range(_MAX_NODES)))
    except StopIteration:
        raise RecipeError("the recipe unfolds to over 100,000 values", where=str(path)) from None
    try:
        return Recipe.model_validate_json(json.dumps(plain))
    except ValidationError as error:
        raise _explain(error, tree, path) from None
    except (TypeError, ValueError) as error:  # keys or values that JSON has no word for
        raise RecipeError(f"the recipe holds something that is no plain value: {error}", where=str(path)) from None


def save_overrides(path: Path, overrides: Sequence[str]) -> None:
    """Write the overrides into the recipe file; comments and order are kept."""
    tree = _read(path)
    for override in overrides:
        apply_override(tree, override)
    text, yaml = StringIO(), _yaml()
    if isinstance(jobs := tree.get("jobs"), CommentedSeq) and jobs.lc.col:  # written with its dashes indented
        yaml.indent(mapping=2, sequence=4, offset=2)
    yaml.dump(tree, text)
    aside = path.with_name(f".{path.name}.tmp")
    aside.write_text(text.getvalue())
    aside.replace(path)


def apply_override(tree: CommentedMap, override: str) -> None:
    """Set one dotted key in place; new keys may be added to mappings, and are checked with the rest."""
    key, equals, text = override.partition("=")
    where = f"--set {override}"
    if not equals or not key:
        raise RecipeError("an override is KEY=VALUE", where=where, hint="for example --set jobs.0.rows=500")
    try:
        value = _yaml().load(text)
    except YAMLError as error:
        raise RecipeError(f"{text!r} is no YAML value", where=where) from error
    node: Any = tree
    *parents, last = key.split(".")
    for part in parents:
        node = _child(node, part, where)
    if isinstance(node, list):
        node[_index(node, last, where)] = value
    elif isinstance(node, dict):
        node[last] = value
    else:
        raise RecipeError(f"{'.'.join(parents)} is a single value and has no {last}", where=where)


def _child(node: Any, part: str, where: str) -> Any:
    if isinstance(node, list):
        return node[_index(node, part, where)]
    if isinstance(node, dict):
        return node.setdefault(part, CommentedMap())
    raise RecipeError(f"there is nothing below {part!r}", where=where)


def _index(node: list[Any], part: str, where: str) -> int:
    if not part.isdecimal() or int(part) >= len(node):
        raise RecipeError(f"there is no entry {part}; the list has {len(node)}, counted from 0", where=where)
    return int(part)


def _yaml() -> YAML:
    yaml = YAML(typ="rt")  # the round-trip loader builds plain values only, and knows lines
    yaml.preserve_quotes = True
    yaml.width = 120
    return yaml


def _read(path: Path) -> CommentedMap:
    try:
        raw = path.read_bytes()
    except FileNotFoundError:
        raise RecipeError("there is no such recipe", where=str(path), hint="recipes live in recipes/*.yaml") from None
    except OSError as error:
        hint = "name one file, such as recipes/fair.yaml"
        raise RecipeError(f"cannot read the recipe: {error.strerror}", where=str(path), hint=hint) from error
    return _parse(raw, path)


def _parse(raw: bytes, path: Path) -> CommentedMap:
    if len(raw) > _MAX_BYTES:
        raise RecipeError(f"a recipe of {len(raw):,} bytes is refused; the limit is {_MAX_BYTES:,}", where=str(path))
    try:
        tree = _yaml().load(raw.decode("utf-8"))
    except UnicodeDecodeError:
        raise RecipeError("the recipe is not UTF-8 text", where=str(path)) from None
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f":{mark.line + 1}" if mark else ""
        raise RecipeError(f"not valid YAML: {error.problem}", where=f"{path}{line}") from error
    except (YAMLError, ValueError, RecursionError) as error:
        raise RecipeError(f"not valid YAML: {str(error).splitlines()[0]}", where=str(path)) from error
    if not isinstance(tree, CommentedMap):
        raise RecipeError(
            "a recipe is a mapping of keys to values", where=str(path), hint="`synthmill schema` shows it"
        )
    return tree


def _plain(node: Any, budget: Iterator[int]) -> JsonValue:
    next(budget)
    match node:
        case dict():
            return {str(k): _plain(v, budget) for k, v in node.items()}
        case list():
            return [_plain(v, budget) for v in node]
        case bool() | None:
            return node
        case int() | float():
            return int(node) if isinstance(node, int) else float(node)
        case _:
            return node.isoformat() if isinstance(node, datetime | date) else str(node)


def _explain(error: ValidationError, tree: CommentedMap, path: Path) -> RecipeError:
    problem = first_problem(error, tree, Recipe)
    return RecipeError(problem.what, where=f"{path}:{_line(tree, problem.location)}", hint=problem.hint)


def _line(tree: Any, location: Location) -> int:
    line, node = 1, tree
    for part in location:
        try:
            position = node.lc.item(part) if isinstance(node, CommentedSeq) else node.lc.key(part)
            line, node = position[0] + 1, node[part]
        except (KeyError, IndexError, TypeError, AttributeError):
            break
    return line


def at_line(path: Path, error: InputError) -> InputError:
    """The same error with file and line in front where it names a key of the recipe."""
    try:
        tree = _read(path)
    except RecipeError:
        return error
    location = tuple(int(part) if part.isdecimal() else part for part in error.where.split("."))
    if location[0] in tree:
        where = f"{path}:{_line(tree, location)}: {error.where}"
    elif isinstance(error, RecipeError):
        where = f"{path}: {error.where}" if error.where else str(path)
    else:
        where = error.where  # in the data
    return type(error)(error.what, where=where, hint=error.hint)
