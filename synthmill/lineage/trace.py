"""The lineage of one release: recipe, plan, models, sources, and the releases that it came from, up to the first."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from pydantic import JsonValue

from synthmill.lineage.family import Family, Parent
from synthmill.store.told import Told, read_run

FORMAT = 1


@dataclass(frozen=True, slots=True)
class Lineage:
    """One release and what it came from. `above` holds the lineage of each certain parent that was not drawn before."""

    told: Told
    run: Mapping[str, JsonValue]
    stages: tuple[str, ...]
    withdrawn: str | None
    parents: tuple[Parent, ...]
    above: Mapping[str, Lineage]
    makers: Mapping[str, str]  # model that a warm start goes on from -> the release that it was made for

    def __iter__(self) -> Iterator[Lineage]:
        """Every release of the tree, ancestors first."""
        for one in self.above.values():
            yield from one
        yield self


def trace(family: Family, tag: str, drawn: frozenset[str] = frozenset()) -> Lineage:
    """Of the release `tag`, which is in the family."""
    told = family.told[tag]
    parents = tuple(family.parents(told))
    seen = drawn | {tag}
    above = {one.tag: trace(family, one.tag, seen) for one in parents if one.is_certain and one.tag not in seen}
    makers = {model: maker for model, _ in told.before if (maker := family.maker(model)) is not None}
    run = read_run(family.git, told.release)
    return Lineage(told, run, family.stages.get(tag, ()), family.withdrawn.get(tag), parents, above, makers)
