"""Candidates that wait in state for a person: list them, look at one, approve it with a reason, or drop it.

A candidate waits once it is described, and as long as it was neither released nor placed: because a gate blocks it, or because
nobody asked for a release. To approve it nothing is generated or measured, and neither Ray nor Prefect is started.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import ValidationError

from synthmill.candidates import Candidate
from synthmill.console import Reporter
from synthmill.errors import InputError
from synthmill.fingerprint import hash_file
from synthmill.judging import hold_gates, judge_candidate, one_line
from synthmill.origin import Origin, refuse_changes
from synthmill.outcome import Outcome, Scored
from synthmill.publish import publish, relative
from synthmill.store.files import locked, sharing
from synthmill.store.lock import ShouldStop
from synthmill.store.manifest import check
from synthmill.store.state import State
from synthmill.store.workspace import Workspace

FIRST_ROWS = 5


@dataclass(frozen=True, slots=True)
class Waiting:
    """One candidate that waits."""

    candidate: Candidate
    origin: Origin
    scored: Scored

    @property
    def plan(self) -> str:
        """The plan's fingerprint."""
        return self.candidate.plan.fingerprint

    @property
    def dataset(self) -> str:
        """The dataset's name."""
        return self.candidate.plan.recipe.dataset

    @property
    def since(self) -> str:
        """When it was described, ISO 8601 in UTC."""
        written = self.candidate.root.joinpath("scores.json").stat().st_mtime
        return datetime.fromtimestamp(written, UTC).isoformat(timespec="seconds")

    @property
    def verdict(self) -> str:
        """What keeps it, in one word or one line."""
        return "; ".join(f"{gate.name} {gate.status}" for gate in self.scored.blocked) or "passed"

    def first_rows(self) -> pa.Table:
        """A few synthetic rows."""
        first = sorted(self.candidate.data.glob("*.parquet"))[0]
        rows = next(pq.ParquetFile(first).iter_batches(FIRST_ROWS))
        return pa.Table.from_batches([rows]).select(self.candidate.plan.jobs[0].schema_.names)


def waiting(workspace: Workspace) -> list[Waiting]:
    """Every candidate that waits, by dataset, the latest first."""
    return [entry for entry in described(workspace) if entry.candidate.waits]


def described(workspace: Workspace) -> list[Waiting]:
    """Every complete candidate in state, those that were placed or released too, by dataset, the latest first."""
    found = [entry for root in (workspace.state / "candidates").glob("*") for entry in _read(workspace, root.name)]
    by_age = sorted(found, key=lambda entry: entry.since, reverse=True)
    return sorted(by_age, key=lambda entry: entry.dataset)


def choose(workspace: Workspace, name: str) -> Waiting:
    """The one whose plan begins with `name`, or the only one of the dataset `name`; InputError where that is none or several."""
    found = [entry for entry in waiting(workspace) if entry.dataset == name or entry.plan.startswith(name)]
    if len(found) == 1:
        return found[0]
    if found:
        plans = ", ".join(entry.plan[:12] for entry in found)
        raise InputError(f"{len(found)} candidates are meant by {name!r}", where="PLAN", hint=f"name one of {plans}")
    hint = "`synthmill candidates` lists those that wait; one that was released or placed does not"
    raise InputError(f"no candidate waits under {name!r}", where="PLAN", hint=hint)


def approve(
    workspace: Workspace, chosen: Waiting, reason: str, reporter: Reporter, should_stop: ShouldStop, *, to_release: bool
) -> Outcome:
    """Release, or place, what is there, and record the reason where a gate blocks it.

    InputError where recipe or source have changed since, or the candidate's files; all errors of a release.
    """
    return publish_chosen(workspace, chosen, one_line(reason), reporter, should_stop, to_release=to_release)


def publish_chosen(
    workspace: Workspace,
    chosen: Waiting,
    override: str | None,
    reporter: Reporter,
    should_stop: ShouldStop,
    *,
    to_release: bool,
) -> Outcome:
    """The same with a reason or without one; GateMissed where a gate blocks and there is none."""
    started = time.monotonic()
    with _alone(workspace, chosen):
        recipe = workspace.root / chosen.origin.recipe
        relative(workspace, recipe)
        refuse_changes(workspace, chosen.origin)
        if wrong := next(iter(check(chosen.candidate.folder)), None):
            again = f"`synthmill run {chosen.origin.recipe}` makes it anew"
            raise InputError(f"the candidate is damaged: {wrong}", where=str(chosen.candidate.folder), hint=again)

        def judge() -> Outcome:
            outcome = judge_candidate(workspace, chosen.candidate, recipe, override)
            if override is not None and outcome.override is None:
                reporter.say("approve: no gate blocks, so there is nothing to override, and none is recorded")
            hold_gates(outcome)
            return outcome

        sha256 = hash_file(recipe)
        outcome = publish(
            workspace, recipe, sha256, chosen.candidate, judge, reporter, should_stop, to_release=to_release
        )
    spent = round(time.monotonic() - started, 2)
    return outcome.model_copy(update={"seconds": {"release" if to_release else "place": spent}})


def drop(workspace: Workspace, chosen: Waiting) -> None:
    """Remove the candidate. Its model and shards stay, so that a run makes the same rows again without a fit."""
    with _alone(workspace, chosen):
        shutil.rmtree(chosen.candidate.root)


@contextmanager
def _alone(workspace: Workspace, chosen: Waiting) -> Iterator[None]:
    busy, state = f"a run works on this plan ({chosen.plan[:12]})", State(workspace.state)
    with locked(state.lock(f"plan-{chosen.plan}"), busy), sharing(state.in_use):
        yield


def _read(workspace: Workspace, plan: str) -> Iterator[Waiting]:
    """Nothing where the folder holds no complete candidate, or one that another version of Synthmill described."""
    state = State(workspace.state)
    path = state.candidate(plan) / "origin.json"
    if not path.is_file():
        return
    try:
        origin = Origin.model_validate_json(path.read_bytes())
    except ValidationError:
        return
    candidate = Candidate(origin.plan, state)
    if candidate.is_complete:
        yield Waiting(candidate, origin, candidate.scores())
