"""Child tables in a run: what the assembled rows of the first table ask of each, and where the rows of its jobs take it from."""

from __future__ import annotations

from synthmill.candidates import Candidate, ChildCandidate
from synthmill.child_plan import with_slots
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
    if parents.is_complete:
        return tuple(child.plan for child in parents.children)
    return tuple(_ask(parents, child, reporter, should_stop) for child in parents.plan.children)


def _ask(parents: Candidate, child: Plan, reporter: Reporter, should_stop: ShouldStop) -> Plan:
    name, state = child.recipe.dataset, parents.state

    def show(rows: int) -> None:
        if should_stop():
            raise Interrupted(f"stopped while preparing {name}", hint="run again to go on")

    train = read_snapshot(state.source(child.source.fingerprint), "train", child.source.schema_)
    slots = write_slots(parents.slots / name, parents.data, parents.plan, child, train, show)
    asked = with_slots(child, parents.plan, slots)
    if not asked.rows:
        raise RunError(f"no row made has rows of {name}", where=f"children.{name}", hint="ask for more rows")
    reporter.say(f"{name}: {asked.rows:,} rows for {parents.plan.rows:,} rows of {parents.plan.recipe.dataset}")
    return asked


def given_for(plan: Plan, job: JobPlan, state: State) -> JobGiven | None:
    """What is given for a job's rows; None for the jobs of a first table."""
    if plan.belonging is None:
        return None
    slots, context = ChildCandidate(plan, state).given, plan.belonging.context
    return lambda start, stop: slots.given(job.index, context, start, stop)
