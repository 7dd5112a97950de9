"""Flow runs as the API sees them: was one cancelled, is all of it written, which did a killed run leave behind.

A run records its flow runs in `state/runs/<run-id>.json` and holds `state/locks/run-<run-id>.lock` for as long as it lives.
A file whose lock is free belongs to a dead run; the next run marks what it left unfinished as crashed, and removes it.
"""

from __future__ import annotations

import functools
import json
import logging
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import UUID

import httpx

from flows import locks
from synthmill.errors import RunError

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient
    from prefect.client.schemas.objects import State

logger = logging.getLogger(__name__)

EMBEDDED = "embedded"
"""The server's name in a run file: its URL changes with every start, its database does not."""

WRITTEN_DEADLINE_S = 30.0
_DRAIN_DEADLINE_S = 10.0
_CANCEL_TIMEOUT_S = 2.0
_ANSWER_TIMEOUT_S = 10.0
_POLL_S = 0.2
_FINAL = ("COMPLETED", "FAILED", "CANCELLED", "CRASHED")


@dataclass(frozen=True, slots=True)
class RunFile:
    """Which flow runs a run has on which server."""

    path: Path
    server: str

    def record(self, flow_run_id: UUID) -> None:
        """Remember a flow run of this run; from now on a kill leaves a trace of it."""
        flow_runs = [*map(str, self.flow_runs()), str(flow_run_id)]
        locks.write_json(self.path, {"server": self.server, "flow_runs": flow_runs})

    def flow_runs(self) -> list[UUID]:
        """What was recorded, in order."""
        return [UUID(text) for text in json.loads(self.path.read_text())["flow_runs"]] if self.path.exists() else []


@contextmanager
def open_run_file(state: Path, run_id: str, server: str) -> Iterator[RunFile]:
    """This run's file, under its lock; on exit waits until the embedded server has written what this run sent."""
    lock = _lock_of(state, run_id)
    with locks.held(lock):
        run_file = RunFile(state / f"runs/{run_id}.json", server)
        try:
            yield run_file
        finally:
            if flow_runs := run_file.flow_runs():
                if server == EMBEDDED:
                    wait_until_written(flow_runs)
                _close(run_file)
            lock.unlink()


def mark_crashed(state: Path, server: str) -> list[UUID]:
    """Mark what killed runs left unfinished on `server` as crashed; the flow runs that were."""
    crashed: list[UUID] = []
    for path in sorted(state.glob("runs/*.json")):
        lock = _lock_of(state, path.stem)
        descriptor = locks.take(lock)
        if descriptor is None:
            continue  # alive
        # Another run may have closed it between our listing and our lock.
        if path.exists() and json.loads(path.read_text())["server"] == server:
            crashed += _close(RunFile(path, server))
            lock.unlink()
        os.close(descriptor)
    return crashed


def _lock_of(state: Path, run_id: str) -> Path:
    return state / f"locks/run-{run_id}.lock"


def _close(run_file: RunFile) -> list[UUID]:
    """Set the unfinished of a run's flow runs, and their tasks, to crashed and remove the file; kept if the API is gone."""
    from prefect.client.orchestration import get_client

    try:
        with get_client(sync_client=True) as client:
            crashed = [flow_run for flow_run in run_file.flow_runs() if _crash(client, flow_run)]
    except httpx.HTTPError as error:
        logger.warning("could not see to the flow runs of %s (%s); the next run will", run_file.path.stem, error)
        return []
    run_file.path.unlink()
    return crashed


def _crash(client: SyncPrefectClient, flow_run_id: UUID) -> bool:
    """Whether the flow run was unfinished, and now is crashed; one that was deleted was not."""
    from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId
    from prefect.exceptions import ObjectNotFound
    from prefect.states import Crashed

    try:
        flow_run = client.read_flow_run(flow_run_id)
    except ObjectNotFound:
        return False
    if flow_run.state is not None and flow_run.state.is_final():
        return False
    crashed: State[None] = Crashed(message="The run ended without a word; the next one found it.")
    for task_run in client.read_task_runs(flow_run_filter=FlowRunFilter(id=FlowRunFilterId(any_=[flow_run_id]))):
        if task_run.state is None or not task_run.state.is_final():
            client.set_task_run_state(task_run.id, crashed, force=True)
    client.set_flow_run_state(flow_run_id, crashed, force=True)
    return True


def require_answer(url: str) -> None:
    """RunError when the user's own server does not answer: better now than after Prefect's minute of retries."""
    from prefect.client.orchestration import get_client
    from prefect.settings import PREFECT_CLIENT_MAX_RETRIES, temporary_settings

    with (
        temporary_settings({PREFECT_CLIENT_MAX_RETRIES: 0}),
        get_client({"timeout": _ANSWER_TIMEOUT_S}, sync_client=True) as client,
    ):
        error = client.api_healthcheck()
    if error is not None:
        raise RunError(
            f"the Prefect server does not answer: {error}",
            where=url,
            hint="start it, or unset PREFECT_API_URL (or leave the profile) for an embedded one, or run with --inline",
        ) from error


def cancel_requested(flow_run_id: UUID) -> bool:
    """Whether somebody cancels the flow run. Cheap enough for each second; no answer within 2 s counts as no, said once."""
    from prefect.exceptions import ObjectNotFound
    from prefect.settings import PREFECT_API_URL, PREFECT_CLIENT_MAX_RETRIES, temporary_settings

    try:
        # Prefect's client would try again for a minute, and the caller is the loop that drives the pool.
        with temporary_settings({PREFECT_CLIENT_MAX_RETRIES: 0}):
            state = _cancel_client(PREFECT_API_URL.value()).read_flow_run(flow_run_id).state
    except (httpx.HTTPError, ObjectNotFound):
        _warn_once(flow_run_id)
        return False
    return state is not None and (state.is_cancelling() or state.is_cancelled())


@functools.cache
def _cancel_client(api_url: str) -> SyncPrefectClient:
    """One client per API: to make one takes ten times as long as to ask."""
    from prefect.client.orchestration import get_client

    return get_client({"timeout": _CANCEL_TIMEOUT_S}, sync_client=True)


@functools.cache
def _warn_once(flow_run_id: UUID) -> None:
    logger.warning("Prefect does not answer: flow run %s goes on, but cannot be cancelled from there", flow_run_id)


def wait_until_written(flow_runs: list[UUID], deadline_s: float = WRITTEN_DEADLINE_S) -> bool:
    """Send what this process still has in its queues; True once the server has written all of it.

    The server takes events from one socket in order and writes them later, events and task runs apart. So an event sent
    last tells by its being written that all events are; and the task runs that events name must be in a final state.
    """
    from prefect.events import emit_event
    from prefect.events.worker import EventsWorker
    from prefect.logging.handlers import APILogWorker

    last = emit_event("synthmill.run.ended", {"prefect.resource.id": f"prefect.flow-run.{flow_runs[-1]}"})
    APILogWorker.drain_all(timeout=_DRAIN_DEADLINE_S)
    EventsWorker.drain_all(timeout=_DRAIN_DEADLINE_S)
    deadline = time.monotonic() + deadline_s
    try:
        with httpx.Client(base_url=os.environ["PREFECT_API_URL"], trust_env=False) as api:
            while time.monotonic() < deadline:
                if (
                    last
                    and _count_events(api, last.id)
                    and all(_tasks_are_final(api, flow_run) for flow_run in flow_runs)
                ):
                    return True
                time.sleep(_POLL_S)
    except httpx.HTTPError as error:
        logger.warning("the embedded Prefect server went away: %s", error)
    logger.warning("the embedded Prefect server has not written all task runs of this run; its data is not affected")
    return False


def _count_events(api: httpx.Client, event: UUID) -> int:
    answer = api.post("/events/filter", json={"filter": {"id": {"id": [str(event)]}}, "limit": 1})
    return int(answer.raise_for_status().json()["total"])


def _tasks_are_final(api: httpx.Client, flow_run: UUID) -> bool:
    named = {"event": {"prefix": ["prefect.task-run."]}, "related": {"id": [f"prefect.flow-run.{flow_run}"]}}
    task_runs = api.post("/events/count-by/resource", json={"filter": named}).raise_for_status().json()
    final = {"flow_runs": {"id": {"any_": [str(flow_run)]}}, "task_runs": {"state": {"type": {"any_": _FINAL}}}}
    return int(api.post("/task_runs/count", json=final).raise_for_status().json()) >= len(task_runs)
