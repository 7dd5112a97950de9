"""The flow as Prefect sees it, with a real server and real Ray: states, tasks, artifacts, events, cancel and Ctrl-C."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from uuid import UUID

import httpx
import psutil
import pyarrow.csv
import pytest
from support.noise_jobs import train_table

from flows.server import connect

TESTS = Path(__file__).parents[1]
ENVIRONMENT = {
    **{name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")},
    "PYTHONPATH": f"{TESTS / 'support' / 'plugin'}",
}
RECIPE = """\
dataset: {name}
source: {{path: data.csv, target: rings, columns: {{rings: {{kind: integer}}}}}}
seed: {seed}
jobs: [{{generator: table/noise, rows: {rows}, params: {{seconds: {seconds}}}}}]
{rest}
"""


class Command:
    """A running `synthmill run`; its lines can be waited for."""

    def __init__(self, workspace, recipe, *options):
        command = [sys.executable, "-m", "synthmill.cli", "run", f"recipes/{recipe}.yaml", "--json", *options]
        self.process = subprocess.Popen(
            command, cwd=workspace, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        self.lines = []

    def wait_for(self, words):
        for line in self.process.stderr:
            self.lines.append(line)
            if words in line:
                return
        raise AssertionError(f"{words!r} never came:\n{''.join(self.lines)}")

    def end(self):
        out, err = self.process.communicate(timeout=180)
        return self.process.returncode, out, "".join(self.lines) + err


@pytest.fixture(scope="module")
def workspace(tmp_path_factory):
    root = tmp_path_factory.mktemp("flow") / "ws"
    subprocess.run([sys.executable, "-m", "synthmill.cli", "init", root], check=True, capture_output=True)
    pyarrow.csv.write_csv(train_table(400), root / "data.csv")
    return root


@pytest.fixture(scope="module")
def api(workspace):
    """The embedded server, kept up by this process so that it can be asked after runs have left."""
    with (
        connect(workspace / ".synthmill") as connection,
        httpx.Client(base_url=connection.url, trust_env=False) as client,
    ):
        yield client


def write_recipe(workspace, name, *, rows=300, seconds=0.0, rest="", seed=0):
    text = RECIPE.format(name=name, rows=rows, seconds=seconds, rest=rest, seed=seed)
    (workspace / "recipes" / f"{name}.yaml").write_text(text)


def flow_run_of(api, recipe):
    found = api.post("/flow_runs/filter", json={"sort": "START_TIME_DESC"}).raise_for_status().json()
    return next(run for run in found if run["name"] == f"recipes/{recipe}.yaml")


def events_of(api, dataset):
    wanted = {"filter": {"resource": {"id": [f"synthmill.dataset.{dataset}"]}}}
    return api.post("/events/filter", json=wanted).raise_for_status().json()["events"]


def test_a_release_is_seen_in_prefect(workspace, api):
    write_recipe(workspace, "seen", rest="scores: [fidelity/shape]")
    code, out, err = Command(workspace, "seen", "--release").end()
    assert code == 0, err
    outcome = json.loads(out)
    assert outcome["version"] == "v1.0.0"
    assert "Traceback" not in err

    run = flow_run_of(api, "seen")
    assert run["state"]["type"] == "COMPLETED"
    of_run = {"flow_runs": {"id": {"any_": [run["id"]]}}}
    tasks = api.post("/task_runs/filter", json=of_run).json()
    names = {task["name"] for task in tasks}
    assert names == {"prepare", "fit table/noise", "generate 0 table/noise", "assemble and score", "release"}
    assert {task["state"]["type"] for task in tasks} == {"COMPLETED"}

    artifacts = api.post("/artifacts/filter", json={"artifacts": {"flow_run_id": {"any_": [run["id"]]}}}).json()
    by_key = {artifact["key"]: artifact for artifact in artifacts}
    assert {"seen-scores", "seen-report", "generate-0-table-noise"} <= set(by_key)
    assert "fidelity/shape" in by_key["seen-scores"]["data"]
    assert by_key["generate-0-table-noise"]["data"] == 100.0

    [event] = [e for e in events_of(api, "seen") if e["event"] == "synthmill.release.created"]
    assert event["payload"]["version"] == "v1.0.0"
    logs = api.post("/logs/filter", json={"logs": {"flow_run_id": {"any_": [run["id"]]}}}).json()
    assert any("release: done" in log["message"] for log in logs)


def test_a_missed_gate_is_a_failed_run_with_an_event(workspace, api):
    write_recipe(workspace, "missed", rest="gates: {fidelity/shape: {at_least: 1.5}}")
    code, out, err = Command(workspace, "missed", "--release").end()
    assert code == 3, err
    assert "gate missed" in err
    assert "Traceback" not in err
    assert Path(json.loads(out)["path"]).is_dir()
    assert not (workspace / "datasets" / "missed").exists()
    assert flow_run_of(api, "missed")["state"]["type"] == "FAILED"
    assert [e["event"] for e in events_of(api, "missed")] == ["synthmill.gate.missed"]

    code, _, err = Command(workspace, "missed", "--release", "--override", "for a test").end()
    assert code == 0, err
    [event] = [e for e in events_of(api, "missed") if e["event"] == "synthmill.release.created"]
    assert event["payload"]["override"] == "for a test"


def test_a_cancel_through_the_api_stops_the_run_and_the_next_one_goes_on(workspace, api):
    write_recipe(workspace, "cancelled", rows=30_000, seconds=0.05)
    command = Command(workspace, "cancelled")
    command.wait_for("rows/s, ")  # some rows are there
    run = flow_run_of(api, "cancelled")
    state = {"state": {"type": "CANCELLING", "name": "Cancelling"}}
    api.post(f"/flow_runs/{run['id']}/set_state", json=state).raise_for_status()
    code, _, err = command.end()
    assert code == 130, err
    assert flow_run_of(api, "cancelled")["state"]["type"] == "CANCELLED"
    again = Command(workspace, "cancelled")
    again.wait_for("going on from")
    again.process.kill()
    again.end()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_run_within_ten_seconds_and_leaves_nothing(workspace, api, number):
    name = f"signal-{number.name.lower()}"
    write_recipe(workspace, name, rows=30_000, seconds=0.05, seed=int(number))
    command = Command(workspace, name)
    command.wait_for("rows/s, ")
    children = psutil.Process(command.process.pid).children(recursive=True)
    asked = time.monotonic()
    command.process.send_signal(number)
    code, _, err = command.end()
    assert code == 130, err
    assert time.monotonic() - asked < 60  # the ten seconds of an idle machine, with room for a busy one
    assert "what is finished is kept" in err
    assert flow_run_of(api, name)["state"]["type"] == "CANCELLED"
    _, alive = psutil.wait_procs(children, timeout=20)
    assert not [p for p in alive if p.is_running() and "flows.server" not in " ".join(p.cmdline())]
    again = Command(workspace, name)
    again.wait_for("going on from")
    again.process.kill()
    again.end()


def test_two_runs_at_once_share_the_server(workspace, api):
    for name in ("left", "right"):
        write_recipe(workspace, name, rows=3_000)
    both = [Command(workspace, name) for name in ("left", "right")]
    assert [command.end()[0] for command in both] == [0, 0]
    assert {flow_run_of(api, name)["state"]["type"] for name in ("left", "right")} == {"COMPLETED"}


def test_a_killed_run_is_marked_crashed_by_the_next(workspace, api):
    write_recipe(workspace, "killed", rows=30_000, seconds=0.05)
    command = Command(workspace, "killed")
    command.wait_for("rows/s, ")
    killed = UUID(flow_run_of(api, "killed")["id"])
    command.process.kill()
    command.end()
    write_recipe(workspace, "next")
    assert Command(workspace, "next").end()[0] == 0
    assert api.get(f"/flow_runs/{killed}").json()["state"]["type"] == "CRASHED"
