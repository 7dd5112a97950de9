"""The main flow: prepare, fit, generate, assemble and score, release. A task per stage and job; no logic here.

Tasks are called directly in the main thread, one after the other: signals reach them, and jobs go in turn. Prefect shows and
schedules; what is finished is known from receipts in state, never from a task's result.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from uuid import UUID

from prefect import flow, get_run_logger, runtime, task
from prefect.artifacts import (
    create_link_artifact,
    create_progress_artifact,
    create_table_artifact,
    update_progress_artifact,
)
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State
from prefect.events import emit_event
from prefect.states import Cancelled, Completed, Failed

from flows.runs import cancel_requested
from synthmill.console import PlainReporter, Reporter
from synthmill.engine import Engine
from synthmill.errors import GateMissed, Interrupted, RunError, SynthmillError
from synthmill.outcome import Outcome
from synthmill.plan import Plan
from synthmill.pool import Pool
from synthmill.run import Run
from synthmill.run_request import RunRequest
from synthmill.stop import StopFlag
from synthmill.store.workspace import find

logger = logging.getLogger(__name__)

_ARTIFACT_EVERY_S = 2.0
_CANCEL_EVERY_S = 1.0


@dataclass
class Session:
    """What a caller in the same process shares with the flow; a worker that starts the flow has the defaults."""

    reporter: Reporter = field(default_factory=PlainReporter)
    stop: StopFlag = field(default_factory=StopFlag)
    on_started: Callable[[UUID], None] = lambda flow_run: None
    workers: int | None = None
    outcome: Outcome | None = None
    error: SynthmillError | None = None


SESSION: ContextVar[Session] = ContextVar("SESSION")


@flow(name="synthesize", flow_run_name="{recipe}", persist_result=False, validate_parameters=False)
def synthesize(
    recipe: str,
    workspace: str = ".",
    overrides: list[str] | None = None,
    save: bool = False,
    place: bool = False,
    release: bool = False,
    override: str | None = None,
) -> State:
    """Run one recipe of a workspace to a candidate; place or release it where its gates pass, or `override` says why not."""
    session = SESSION.get(None) or Session()
    session.on_started(UUID(str(runtime.flow_run.id)))
    request = RunRequest(
        Path(recipe), tuple(overrides or ()), save=save, place=place, release=release, override=override
    )
    reporter = _FlowReporter(session.reporter)
    try:
        with session.stop.listening(), Run(request, find(Path(workspace)), reporter, _Stop(session.stop)) as run:
            _stages(run, session)
    except Interrupted as error:
        session.error = error
        return Cancelled(message=str(error))
    except SynthmillError as error:
        session.error = error
        get_run_logger().error(str(error))
        return Failed(message=str(error))
    assert session.outcome is not None
    return Completed(message=f"{session.outcome.dataset} {session.outcome.version or ''} {session.outcome.path}")


def unforeseen(state: State) -> RunError:
    """What nobody meant to raise: Prefect keeps it in the final state, and its traceback is what a report of it needs."""
    error = state.result(raise_on_failure=False)
    logger.error("unforeseen", exc_info=error if isinstance(error, BaseException) else None)
    return RunError(f"the run ended as {state.name}: {state.message}", hint="this is a bug: please report it")


def _stages(run: Run, session: Session) -> None:
    work = _Work(run)
    prepare(work)
    settings = run.workspace.settings.engine
    with Pool(workers=session.workers or settings.workers, device=settings.device) as pool:
        _make(work, pool)
        for plan in run.children(work.plan):
            _make(_Work(run, plan), pool)
            run.assemble(plan)
        session.outcome = assemble_and_score(work, pool)
    session.outcome = release(work, session.outcome)


def _make(work: _Work, engine: Engine) -> None:
    for place, model in enumerate(work.plan.models):
        fit(work, engine, place, model.generator)
    for job in work.plan.jobs:
        generate(work, engine, job.index, job.generator)


class _Work:
    """The run and a plan, for tasks. A plain class, because Prefect searches dataclasses and models for futures, row by row."""

    plan: Plan

    def __init__(self, run: Run, plan: Plan | None = None) -> None:
        self.run = run
        if plan is not None:
            self.plan = plan


@task(task_run_name="prepare", cache_policy=NO_CACHE, persist_result=False)
def prepare(work: _Work) -> None:
    """Recipe and source to a plan."""
    work.plan = work.run.prepare()


@task(task_run_name="fit {generator}", cache_policy=NO_CACHE, persist_result=False)
def fit(work: _Work, engine: Engine, place: int, generator: str) -> None:
    """One model."""
    work.run.fit(work.plan, work.plan.models[place], engine)


@task(task_run_name="generate {index} {generator}", cache_policy=NO_CACHE, persist_result=False)
def generate(work: _Work, engine: Engine, index: int, generator: str) -> None:
    """One job's rows, over the whole cluster."""
    work.run.generate(work.plan, work.plan.jobs[index], engine)


@task(task_run_name="assemble and score", cache_policy=NO_CACHE, persist_result=False)
def assemble_and_score(work: _Work, engine: Engine) -> Outcome:
    """The candidate with its scores, as artifacts too."""
    run, plan = work.run, work.plan
    run.assemble(plan)
    outcome = run.score(plan, engine)
    rows = [
        {"score": s.name, "value": s.value, "floor": s.floor, "ceiling": s.ceiling, "status": s.status}
        for s in outcome.scores
    ]
    create_table_artifact(table=rows, key=f"{plan.recipe.dataset}-scores", description="Scores of the whole dataset")
    report = run.candidate(plan).folder / "report.html"
    create_link_artifact(link=report.resolve().as_uri(), key=f"{plan.recipe.dataset}-report", link_text="report.html")
    return outcome


@task(task_run_name="release", cache_policy=NO_CACHE, persist_result=False)
def release(work: _Work, outcome: Outcome) -> Outcome:
    """Hold the gates, then place or release; tell whoever listens."""
    resource = {
        "prefect.resource.id": f"synthmill.dataset.{outcome.dataset}",
        "prefect.resource.name": outcome.dataset,
    }
    try:
        done = work.run.finish(work.plan, outcome)
    except GateMissed as error:
        emit_event("synthmill.gate.missed", resource=resource, payload={"plan": outcome.plan, "reasons": error.what})
        raise
    if done.is_new:
        payload = {"plan": done.plan, "version": done.version, "rows": done.rows, "override": done.override}
        emit_event("synthmill.release.created", resource=resource, payload=payload)
    return done


class _FlowReporter:
    """Passes everything on, and shows it in Prefect: lines as logs, long work as progress artifacts."""

    def __init__(self, inner: Reporter) -> None:
        self._inner = inner
        self._artifacts: dict[str, UUID] = {}
        self._last: dict[str, float] = {}

    def say(self, line: str) -> None:
        """Print and log."""
        self._inner.say(line)
        get_run_logger().info(line)

    def progress(self, task: str, done: int, total: int, note: str = "") -> None:
        """Print, and move the artifact every two seconds."""
        self._inner.progress(task, done, total, note)
        now, percent = time.monotonic(), 100.0 * done / max(total, 1)
        if task not in self._artifacts:
            key = "".join(c if c.isalnum() else "-" for c in task.lower())
            self._artifacts[task] = UUID(str(create_progress_artifact(progress=percent, key=key, description=task)))
        elif done >= total or now - self._last[task] >= _ARTIFACT_EVERY_S:
            update_progress_artifact(self._artifacts[task], progress=percent)
        else:
            return
        self._last[task] = now


class _Stop:
    """Asks the signals each time, and Prefect once a second, whether to stop."""

    def __init__(self, flag: StopFlag) -> None:
        self._flag, self._asked = flag, time.monotonic()
        self._flow_run = UUID(str(runtime.flow_run.id))

    def __call__(self) -> bool:
        if not self._flag.is_set and time.monotonic() - self._asked >= _CANCEL_EVERY_S:
            self._asked = time.monotonic()
            if cancel_requested(self._flow_run):  # never set to False: a signal may have come while Prefect was asked
                self._flag.is_set = True
        return self._flag.is_set
