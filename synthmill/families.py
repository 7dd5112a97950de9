"""Child tables in a run: what the assembled rows of the first table ask of each, and where the rows of its jobs take it from."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from synthmill.candidates import Candidate, ChildCandidate
from synthmill.console import Reporter
from synthmill.engine import ShouldStop
from synthmill.errors import Interrupted, RunError
from synthmill.job_run import JobGiven
from synthmill.plan import JobPlan, Plan
from synthmill.store.slots import write_slots
from synthmill.store.snapshot import read_snapshot
from synthmill.store.state import State


def ask_children(parents: Candidate, reporter: Reporter, should_stop: ShouldStop) -> tuple[Plan, ...]:
    """The plan of each child table, with its slots in state. RunError where the first table asks for no row of one."""
    for child in parents.plan.children:
        if not parents.slots(child).is_dir():
            _write(parents, child, should_stop)
    asked = tuple(child.plan for child in parents.children)
    for plan in asked:
        name, rows = plan.recipe.dataset, parents.plan.rows
        if not plan.rows:
            raise RunError(f"none of {rows:,} rows has rows of {name}", where=f"children.{name}", hint="ask for more")
        reporter.say(f"{name}: {plan.rows:,} rows for {rows:,} rows of {parents.plan.recipe.dataset}")
    return asked


def _write(parents: Candidate, child: Plan, should_stop: ShouldStop) -> None:
    def check(rows: int) -> None:
        if should_stop():
            raise Interrupted(f"stopped at row {rows:,} of {child.recipe.dataset}", hint="run again to go on")

    train = read_snapshot(parents.state.source(child.source.fingerprint), "train", child.source.schema_)
    write_slots(parents.slots(child), parents.data, parents.plan, child, train, check)


@contextmanager
def naming_child(plan: Plan) -> Iterator[None]:
    """What fails in the block is told at the child's key of the recipe, where it is a child's plan."""
    try:
        yield
    except RunError as error:
        if plan.belonging is None:
            raise
        raise type(error)(error.what, where=f"children.{plan.recipe.dataset}", hint=error.hint) from error


def given_for(plan: Plan, job: JobPlan, state: State) -> JobGiven | None:
    """What is given for a job's rows; None for the jobs of a first table."""
    if plan.belonging is None:
        return None
    slots, context = ChildCandidate(plan, state).given, plan.belonging.context
    return lambda start, stop: slots.given(job.index, context, start, stop)
