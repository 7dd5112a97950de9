"""What in state belongs to which plan: models, split sources and staged shards by fingerprint, told by the candidates that are there."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from synthmill.candidates import Candidate
from synthmill.origin import Origin
from synthmill.plan import Plan
from synthmill.store.state import State


@dataclass(frozen=True, slots=True)
class Usage:
    """Fingerprints by what they name."""

    models: frozenset[str] = frozenset()
    sources: frozenset[str] = frozenset()
    shards: frozenset[str] = frozenset()

    def __or__(self, other: Usage) -> Usage:
        return Usage(self.models | other.models, self.sources | other.sources, self.shards | other.shards)

    def __sub__(self, other: Usage) -> Usage:
        return Usage(self.models - other.models, self.sources - other.sources, self.shards - other.shards)

    def places(self, state: State) -> Iterator[Path]:
        """Where it lies, be it there or not."""
        found = [state.model(name) for name in self.models] + [state.checkpoint(name) for name in self.models]
        found += [state.source(name) for name in self.sources] + [state.staging(name) for name in self.shards]
        yield from sorted(found)


def usage_of(plans: Iterable[Plan]) -> Usage:
    """What these plans read and write in state, the models that they go on from included."""
    found = Usage()
    for plan in plans:
        before = [model.before for model in plan.models if model.before is not None]
        found |= Usage(
            frozenset({model.fingerprint for model in plan.models} | {link.model for link in before}),
            frozenset({plan.source.fingerprint} | {link.source for link in before}),
            frozenset(stratum.staging for job in plan.jobs for stratum in job.strata),
        )
    return found


def read_usage(state: State, plan: str) -> Usage:
    """What the candidate of a plan uses, by its fingerprint; nothing where it is not there, or another version described it."""
    try:
        origin = Origin.model_validate_json((state.candidate(plan) / "origin.json").read_bytes())
    except (OSError, ValidationError):
        return Usage()
    candidate = Candidate(origin.plan, state)
    try:
        children = [child.plan for child in candidate.children]
    except (OSError, ValueError, TypeError):  # its slots are gone
        children = [*origin.plan.children]
    return usage_of([origin.plan, *children])


def shards_of(state: State, models: frozenset[str]) -> frozenset[str]:
    """The staging folders whose receipts name one of these models."""
    return frozenset(folder.name for folder in state.shards.glob("*") if _model_of(folder) in models)


def _model_of(folder: Path) -> str | None:
    for path in folder.glob("*-*.json"):
        try:
            return str(json.loads(path.read_bytes())["model"])
        except (ValueError, KeyError, TypeError):
            continue
    return None
