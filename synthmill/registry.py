"""Key -> class. Built-in ones are found by their file, third parties' by entry point; nothing is imported until it is named.

[project.entry-points."synthmill.generators"]
"table/copula" = "my_package.copula:Copula"
"""

from __future__ import annotations

import difflib
import importlib
import inspect
import pkgutil
from importlib.metadata import EntryPoint, entry_points
from typing import TypeVar, cast

from synthmill.errors import RecipeError
from synthmill.evaluator import Evaluator
from synthmill.generator import Generator

Kind = TypeVar("Kind", bound=type)
_PACKAGES: dict[type, str] = {Generator: "generators", Evaluator: "evaluators"}


def generator(key: str, *, where: str = "") -> type[Generator]:
    """The generator class behind a key such as `table/vae`."""
    return _find(Generator, key, where)


def evaluator(key: str, *, where: str = "") -> type[Evaluator]:
    """The evaluator class behind a key such as `fidelity/c2st`."""
    return _find(Evaluator, key, where)


def generator_keys() -> list[str]:
    """Every key that can be named, built-in and third parties', sorted; imports none of them."""
    return sorted({*_built_in("generators"), *_plug_ins("generators")})


def evaluator_keys() -> list[str]:
    """Every evaluator key, likewise."""
    return sorted({*_built_in("evaluators"), *_plug_ins("evaluators")})


def plug_in_of(key: str) -> str | None:
    """The distribution, with its version, that brings an evaluator; None for our own."""
    point = _plug_ins("evaluators").get(key)
    return None if point is None else f"{point.value} {point.dist.version if point.dist else ''}"


def _find(base: Kind, key: str, where: str) -> Kind:
    package = _PACKAGES[base]
    built_in, plug_ins = _built_in(package), _plug_ins(package)
    if key in built_in:
        return _only_class(base, f"{package}.{key.replace('/', '.')}")
    if key not in plug_ins:
        near = difflib.get_close_matches(key, [*built_in, *plug_ins], n=1)
        hint = f"did you mean {near[0]}?" if near else "`synthmill list` shows what there is"
        raise RecipeError(f"there is no {package[:-1]} {key}", where=where, hint=hint)
    try:
        found = plug_ins[key].load()
    except Exception as error:
        raise RecipeError(f"the plug-in {key} ({plug_ins[key].value}) does not import: {error}", where=where) from error
    if not (inspect.isclass(found) and issubclass(found, base)):
        raise RecipeError(f"the plug-in {key} ({plug_ins[key].value}) is no {base.__name__}", where=where)
    return cast(Kind, found)


def _built_in(package: str) -> set[str]:
    folder = importlib.import_module(package).__path__
    groups = [m.name for m in pkgutil.iter_modules(folder) if m.ispkg and m.name != "nets"]
    return {
        f"{group}/{module.name}"
        for group in groups
        for module in pkgutil.iter_modules([f"{folder[0]}/{group}"])
        if not module.ispkg and not module.name.startswith("_")
    }


def _plug_ins(package: str) -> dict[str, EntryPoint]:
    found: dict[str, EntryPoint] = {}
    for point in entry_points(group=f"synthmill.{package}"):
        if point.name in found or point.name in _built_in(package):
            raise RecipeError(
                f"the key {point.name} is taken twice: {point.value} and {found.get(point.name, 'a built-in')}",
                hint="uninstall one of the two packages",
            )
        found[point.name] = point
    return found


def _only_class(base: Kind, module_name: str) -> Kind:
    module = importlib.import_module(module_name)
    own = [
        item
        for item in vars(module).values()
        if inspect.isclass(item) and issubclass(item, base) and item.__module__ == module_name
    ]
    assert len(own) == 1, f"{module_name} defines {len(own)} {base.__name__}s; it must define one"
    return cast(Kind, own[0])
