"""What pydantic finds wrong with values that a person wrote, in that person's words: no patterns, tuples or class names."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from synthmill.conditions import Condition, meant_by
from synthmill.spec import PATTERN_WORDS

Location = tuple[int | str, ...]

_WORDS = {
    "int_type": "must be a whole number",
    "int_from_float": "must be a whole number",
    "float_type": "must be a number",
    "bool_type": "must be true or false",
    "string_type": "must be text",
    "model_type": "must be a mapping of keys to values",
    "model_attributes_type": "must be a mapping of keys to values",
    "dict_type": "must be a mapping of keys to values",
    "tuple_type": "must be a list",
    "list_type": "must be a list",
    "greater_than": "must be above {gt}",
    "greater_than_equal": "must be at least {ge}",
    "less_than": "must be below {lt}",
    "less_than_equal": "must be at most {le}",
    "finite_number": "must be a finite number",
    "too_short": "must have {min_length} or more entries",
    "too_long": "must have {max_length} or fewer entries",
    "string_too_short": "must not be empty",
    "string_too_long": "must be no longer than {max_length} characters",
    "literal_error": "must be {expected}",
    "value_error": "{error}",
}


@dataclass(frozen=True, slots=True)
class Problem:
    """The first thing to mend: where, what in words that name the key, and the next step, which may be empty."""

    location: Location
    what: str
    hint: str


def first_problem(error: ValidationError, given: object, model: type[BaseModel]) -> Problem:
    """Where several things are wrong an unknown key goes first: it is often the reason for the others."""
    found = _of_likeliest_branches([_Found(details, given) for details in error.errors(include_url=False)])
    # A list whose items failed is then called too short: such echoes of an inner problem are left out.
    problems = [p for p in found if not any(q.location[: len(p.location)] == p.location != q.location for q in found)]
    first = next((p for p in problems if p.type == "extra_forbidden"), problems[0])
    same = [p for p in problems if p.location == first.location]
    others = len(problems) - len(same)
    hint = f"and {others} more problem{'s' if others > 1 else ''}" if others else ""
    key = ".".join(map(str, first.location))
    if first.type == "extra_forbidden":
        return Problem(first.location, f"unknown key {key}", _nearest(first.location, model) or hint)
    if first.type == "missing":
        return Problem(first.location, f"{key} is missing", hint)
    seen = "" if isinstance(first.details["input"], dict | list) else f"; it is {first.details['input']!r}"
    named = f"{key}: " if key else ""  # a mistake of the recipe as a whole has no key
    return Problem(first.location, f"{named}{_joined(p.words for p in same)}{seen}", hint)


@dataclass(frozen=True, slots=True)
class _Found:
    """One entry of pydantic's list."""

    details: ErrorDetails
    given: object

    @property
    def type(self) -> str:
        return self.details["type"]

    @property
    def words(self) -> str:
        if self.type == "string_pattern_mismatch":
            return PATTERN_WORDS.get(self.details["ctx"]["pattern"], self.details["msg"])
        if self.type == "model_type" and self.details["ctx"]["class_name"] == Condition.__name__:
            return f"must be a condition; write {meant_by(self.details['input'])}"
        context = {name: str(value) for name, value in self.details.get("ctx", {}).items()}
        return _WORDS[self.type].format(**context) if self.type in _WORDS else self.details["msg"]

    @property
    def location(self) -> Location:
        """Without the names of union branches, which pydantic puts where the given values have no such key."""
        parts = [part for part, is_branch in self._parts() if not is_branch]
        return tuple(part for part in parts if part != "[key]")

    @property
    def branch(self) -> Location:
        """The location up to the first union branch, that included; empty where there is none."""
        marks = [is_branch for _, is_branch in self._parts()]
        return self.details["loc"][: marks.index(True) + 1] if True in marks else ()

    @property
    def is_of_another_type(self) -> bool:
        """The branch does not even begin to fit."""
        return self.details["loc"] == self.branch and self.type.endswith("_type")

    def _parts(self) -> list[tuple[int | str, bool]]:
        node, parts, loc = self.given, [], self.details["loc"]
        for place, part in enumerate(loc):
            is_there = isinstance(node, Mapping | list) and _has(node, part)
            is_new_key = place == len(loc) - 1 and self.type in ("missing", "extra_forbidden")
            parts.append((part, isinstance(part, str) and part != "[key]" and not is_there and not is_new_key))
            if is_there:
                node = node[part]  # type: ignore[index]
        return parts


def _has(node: Mapping[str, object] | list[object], part: int | str) -> bool:
    return part < len(node) if isinstance(node, list) and isinstance(part, int) else part in node


def _of_likeliest_branches(found: Sequence[_Found]) -> list[_Found]:
    """Of each union keep the branch that fits best: a wrong key in {after: DATE} is none of a missing `by`."""
    kept = [problem for problem in found if not problem.branch]
    for union in dict.fromkeys(problem.branch[:-1] for problem in found if problem.branch):
        inside = [problem for problem in found if problem.branch and problem.branch[:-1] == union]
        fitting = [problem for problem in inside if not problem.is_of_another_type]
        sizes = {
            branch: sum(p.branch == branch for p in fitting) for branch in dict.fromkeys(p.branch for p in fitting)
        }
        kept += [p for p in fitting if p.branch == min(sizes, key=lambda b: sizes[b])] if fitting else inside
    return kept


def _joined(words: Iterable[str]) -> str:
    """`must be a number or text`."""
    first, *rest = dict.fromkeys(words)
    return " or ".join([first, *(word.removeprefix("must be ") for word in rest)])


def _nearest(location: Location, model: type[BaseModel]) -> str:
    known = _known_keys(location[:-1], model)
    near = difflib.get_close_matches(str(location[-1]), known, n=1)
    return f"did you mean {near[0]}?" if near else f"known keys: {', '.join(known)}"


def _known_keys(location: Location, model: type[BaseModel]) -> list[str]:
    """The keys at `location` of `model`; of a union of models, those of all."""
    models = [model]
    for part in location:
        fields = [found.model_fields[part] for found in models if part in found.model_fields]
        if isinstance(part, str) and fields:  # an index, or a key that the person chose, stays in the same model
            models = [inner for field in fields for inner in _models_in(field.annotation)]
    return [info.alias or name for found in models for name, info in found.model_fields.items()]


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for argument in getattr(annotation, "__args__", ()) for model in _models_in(argument)]
