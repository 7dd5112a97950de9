"""The embedded Prefect server, with real servers and runs in processes of their own: shared, stopped, and never two of them."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import HTTPServer, SimpleHTTPRequestHandler
from pathlib import Path
from uuid import UUID

import httpx
import psutil
import pytest

from flows import locks, server
from flows.runs import EMBEDDED, cancel_requested, mark_crashed
from flows.server import connect, user_api_url
from synthmill.errors import InputError, RunError

RUN = """
import sys
from pathlib import Path
from uuid import UUID
from flows.server import connect

with connect(Path(sys.argv[1]), run_id=sys.argv[2]) as connection:
    from prefect import flow, get_run_logger, task
    from prefect.runtime import flow_run

    @task
    def count(number):
        return number

    @task
    def wait_for_a_line():
        print(connection.url, flow_run.id, flush=True)
        sys.stdin.readline()

    @flow
    def counting():
        connection.run_file.record(UUID(flow_run.id))
        get_run_logger().info("counted")
        for number in range(int(sys.argv[3])):
            count(number)
        wait_for_a_line()

    counting()
"""


class Run:
    """A run in a process of its own that stays in its last task until `leave` or `kill`."""

    def __init__(self, state: Path, run_id: str, tasks: int, environ: dict[str, str]) -> None:
        command = [sys.executable, "-c", RUN, str(state), run_id, str(tasks)]
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(command, env=environ, stdin=pipe, stdout=pipe, stderr=pipe, text=True)

    def wait_until_working(self) -> tuple[str, UUID]:
        """The URL of the API and the flow run's id."""
        line = self.process.stdout.readline().split()
        assert line, self.process.stderr.read()
        return line[0], UUID(line[1])

    def leave(self) -> str:
        """What the run wrote to stderr; it must have ended well."""
        _, errors = self.process.communicate("\n", timeout=60)
        assert self.process.returncode == 0, errors
        return errors

    def kill(self) -> None:
        self.process.kill()
        self.process.communicate()


@pytest.fixture
def start() -> Iterator[Callable[..., Run]]:
    """Starts runs without the Prefect of whoever runs the tests; what a failed test left is killed."""
    runs = []

    def start_run(state: Path, run_id: str = "one", tasks: int = 2, **environ: str) -> Run:
        runs.append(Run(state, run_id, tasks, _no_prefect() | environ))
        return runs[-1]

    yield start_run
    for run in runs:
        run.kill()


@pytest.fixture(scope="module")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The state of a first run: its migrations take half of the time that a server needs to come up."""
    state = tmp_path_factory.mktemp("first") / "state"
    with _no_prefect_here(state.parent), connect(state):
        pass
    eventually(lambda: not processes_of(state))
    return state


@pytest.fixture
def state(migrated: Path, tmp_path: Path) -> Iterator[Path]:
    shutil.copytree(migrated, tmp_path / "state")
    yield tmp_path / "state"
    eventually(lambda: not processes_of(tmp_path / "state"))


@pytest.fixture
def no_prefect(tmp_path: Path) -> Iterator[None]:
    with _no_prefect_here(tmp_path):
        yield


def _no_prefect() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}


@contextmanager
def _no_prefect_here(home: Path) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for name in os.environ.keys() - _no_prefect().keys():
            patch.delenv(name)
        patch.setenv("HOME", str(home))
        yield


def eventually(holds: Callable[[], bool], deadline_s: float = 30) -> None:
    deadline = time.monotonic() + deadline_s
    while not holds():
        assert time.monotonic() < deadline, "did not come to hold"
        time.sleep(0.1)


def processes_of(state: Path) -> list[psutil.Process]:
    """The wrappers and servers of a state that live, a wrapper before its server."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):  # it ended meanwhile, or is somebody else's
            command = process.cmdline()
            is_wrapper = "flows.server" in command and str(state) in command
            is_server = any("import serve" in word for word in command)
            if is_wrapper or (is_server and process.environ()["PREFECT_HOME"] == str(state / "prefect")):
                found.append((is_server, process.pid, process))
    return [process for _, _, process in sorted(found)]


def read(url: str, path: str) -> dict:
    return httpx.get(f"{url}/{path}").raise_for_status().json()


def find(url: str, what: str, **criteria: object) -> list[dict]:
    answer = httpx.post(f"{url}/{what}/filter", json=criteria).raise_for_status().json()
    return answer["events"] if what == "events" else answer


def of_flow_run(flow_run: UUID) -> dict:
    return {"id": {"any_": [str(flow_run)]}}


def test_importing_the_server_imports_no_prefect() -> None:
    check = "import sys, flows.server; sys.exit('prefect' in sys.modules)"
    subprocess.run([sys.executable, "-c", check], check=True)


def test_everything_is_written_and_the_server_gone_when_the_last_run_has_left(
    state: Path, start, no_prefect, tmp_path: Path
) -> None:
    run = start(state, tasks=50, HOME=str(tmp_path / "home"))
    url, flow_run = run.wait_until_working()
    wrapper_pid = json.loads((state / "prefect/server.json").read_text())["pid"]
    assert wrapper_pid in {process.pid for process in processes_of(state)}
    assert run.leave() == ""

    eventually(lambda: not processes_of(state))
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{url}/health")
    assert not (state / "prefect/server.json").exists()
    assert not list((state / "runs").iterdir())
    assert (state / "prefect/server.log").read_text() == ""
    assert not (tmp_path / "home").exists()

    with connect(state) as again:
        tasks = find(again.url, "task_runs", flow_runs=of_flow_run(flow_run))
        assert [task["state_type"] for task in tasks] == ["COMPLETED"] * 51
        assert read(again.url, f"flow_runs/{flow_run}")["state_type"] == "COMPLETED"
        (last,) = find(again.url, "events", filter={"event": {"name": ["synthmill.run.ended"]}})
        assert last["resource"]["prefect.resource.id"] == f"prefect.flow-run.{flow_run}"
        messages = [log["message"] for log in find(again.url, "logs")]
        assert "counted" in messages


def test_runs_share_one_server_and_it_outlives_its_killed_starter(state: Path, start, no_prefect) -> None:
    starter = start(state, "starter")
    url, killed = starter.wait_until_working()
    other = start(state, "other")
    other_url, finished = other.wait_until_working()
    assert other_url == url
    assert len(processes_of(state)) == 2  # a wrapper and its server

    before = {process.pid for process in processes_of(state)}
    starter.kill()
    third = start(state, "third")
    third_url, _ = third.wait_until_working()
    assert third_url == url
    assert {process.pid for process in processes_of(state)} == before

    # The third run found what the kill left behind, and touched nothing of the run that lives.
    assert read(url, f"flow_runs/{killed}")["state_type"] == "CRASHED"
    tasks = find(url, "task_runs", flow_runs=of_flow_run(killed))
    assert sorted(task["state_type"] for task in tasks) == ["COMPLETED", "COMPLETED", "CRASHED"]
    assert read(url, f"flow_runs/{finished}")["state_type"] == "RUNNING"
    assert sorted(path.name for path in (state / "runs").iterdir()) == ["other.json", "third.json"]

    other.leave()
    assert {process.pid for process in processes_of(state)} == before
    third.leave()
    eventually(lambda: not processes_of(state))


def test_runs_that_start_at_once_bring_up_one_server_and_it_goes_when_they_were_killed(state: Path, start) -> None:
    runs = [start(state, "one"), start(state, "two")]
    urls = {run.wait_until_working()[0] for run in runs}
    assert len(urls) == 1
    assert len(processes_of(state)) == 2
    for run in runs:
        run.kill()
    eventually(lambda: not processes_of(state))


def test_server_does_not_outlive_a_killed_wrapper(state: Path, no_prefect) -> None:
    with locks.held(state / "locks/users.lock", shared=True):  # as a run that lost its server does
        server._join(state)
        wrapper, orphan = processes_of(state)
        wrapper.kill()
        eventually(lambda: wrapper not in processes_of(state))
        with connect(state) as second:  # at another port, or by chance at the same one
            assert len(processes_of(state)) == 2
            assert not {wrapper, orphan} & set(processes_of(state))
            httpx.get(f"{second.url}/health").raise_for_status()


def test_killed_server_comes_back_under_its_run(state: Path, start) -> None:
    with locks.held(state / "locks/users.lock", shared=True):
        run = start(state)
        url, flow_run = run.wait_until_working()
        _, killed = processes_of(state)
        killed.kill()
        run.leave()
        assert read(url, f"flow_runs/{flow_run}")["state_type"] == "COMPLETED"
        assert killed not in processes_of(state)


@pytest.mark.parametrize(("seconds_off", "is_followed"), [(0.0, True), (60.0, False)])
def test_stale_address_is_not_followed_to_a_stranger(tmp_path: Path, seconds_off: float, is_followed: bool) -> None:
    """Port and process number of a wrapper that died may by now be another's, so the start time must agree as well."""
    stranger = HTTPServer(("127.0.0.1", 0), SimpleHTTPRequestHandler)
    threading.Thread(target=stranger.handle_request, daemon=True).start()
    url = f"http://127.0.0.1:{stranger.server_port}"
    started = psutil.Process().create_time() - seconds_off
    (tmp_path / "health").touch()
    locks.write_json(tmp_path / "prefect/server.json", {"url": url, "pid": os.getpid(), "started": started})
    with contextlib.chdir(tmp_path), stranger:
        assert server._answering_server(tmp_path) == (url if is_followed else None)


def test_servers_of_environment_and_profile_are_respected(state: Path, start, no_prefect, tmp_path: Path) -> None:
    profiles = tmp_path / "home/.prefect/profiles.toml"
    profiles.parent.mkdir(parents=True)
    with connect(state) as theirs:
        profiles.write_text(f'active = "team"\n[profiles.team]\nPREFECT_API_URL = "{theirs.url}"\n')
        runs = [
            start(tmp_path / "ours", "environment", PREFECT_API_URL=theirs.url),
            start(tmp_path / "ours", "profile", HOME=str(tmp_path / "home")),
        ]
        for run in runs:
            url, flow_run = run.wait_until_working()
            run.leave()
            assert url == theirs.url
            assert read(url, f"flow_runs/{flow_run}")["state_type"] == "COMPLETED"
        assert not (tmp_path / "ours/prefect").exists()
        assert not processes_of(tmp_path / "ours")


def test_killed_run_on_another_server_is_left_to_that_server(tmp_path: Path) -> None:
    elsewhere = tmp_path / "runs/elsewhere.json"
    locks.write_json(elsewhere, {"server": "https://prefect.example/api", "flow_runs": [str(UUID(int=1))]})
    assert mark_crashed(tmp_path, EMBEDDED) == []
    assert elsewhere.exists()


@pytest.mark.parametrize(
    ("environ", "url"),
    [
        ({}, None),
        ({"PREFECT_PROFILE": "team"}, "http://team/api"),
        ({"PREFECT_PROFILE": "nobody"}, None),
        ({"PREFECT_PROFILE": "team", "PREFECT_API_URL": "http://mine/api"}, "http://mine/api"),
        ({"PREFECT_HOME": "/nowhere"}, None),
        ({"PREFECT_PROFILES_PATH": "/nowhere/profiles.toml", "PREFECT_PROFILE": "team"}, None),
    ],
)
def test_api_url_comes_from_environment_then_profile(tmp_path: Path, environ: dict[str, str], url: str | None) -> None:
    (tmp_path / "profiles.toml").write_text(
        'active = "local"\n[profiles.local]\n[profiles.team]\nPREFECT_API_URL = "http://team/api"\n'
    )
    assert user_api_url({"PREFECT_HOME": str(tmp_path)} | environ) == url


def test_broken_profiles_are_the_users_to_mend(tmp_path: Path) -> None:
    (tmp_path / "profiles.toml").write_text("active = ")
    with pytest.raises(InputError, match="are not TOML"):
        user_api_url({"PREFECT_HOME": str(tmp_path)})


def test_environment_is_ours_within_and_theirs_after(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PREFECT_API_KEY", "theirs")
    monkeypatch.setenv("PREFECT_LOGGING_LEVEL", "DEBUG")
    monkeypatch.setenv("DO_NOT_TRACK", "0")
    monkeypatch.setenv("no_proxy", "intranet")
    before = dict(os.environ)
    with server._environment(server._embedded_environment(tmp_path, "http://127.0.0.1:1/api")):
        assert os.environ["PREFECT_API_URL"] == "http://127.0.0.1:1/api"
        assert os.environ["PREFECT_HOME"] == str(tmp_path / "prefect")
        assert os.environ["PREFECT_SERVER_ANALYTICS_ENABLED"] == "false"
        assert os.environ["PREFECT_RESULTS_DEFAULT_SERIALIZER"] == "json"
        assert os.environ["PREFECT_LOGGING_LEVEL"] == "DEBUG"
        assert os.environ["DO_NOT_TRACK"] == "0"
        assert os.environ["no_proxy"] == "intranet,127.0.0.1"
        assert "PREFECT_API_KEY" not in os.environ
        os.environ["SET_WITHIN"] = "stays"
    assert os.environ.pop("SET_WITHIN") == "stays"
    assert dict(os.environ) == before


def test_prefect_that_was_imported_before_takes_the_api_of_the_connection(tmp_path: Path) -> None:
    from prefect.settings import PREFECT_API_URL

    with server._environment(os.environ | {"PREFECT_API_URL": "http://127.0.0.1:1/api"}), server._settings():
        assert PREFECT_API_URL.value() == "http://127.0.0.1:1/api"
    assert PREFECT_API_URL.value() != "http://127.0.0.1:1/api"


def test_users_server_that_does_not_answer_is_a_run_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PREFECT_API_URL", "http://127.0.0.1:1/api")
    with pytest.raises(RunError, match=r"127\.0\.0\.1:1/api: the Prefect server does not answer"), connect(tmp_path):
        pass
    assert not (tmp_path / "prefect").exists()


def test_cancel_is_seen_and_a_silent_server_is_said_once(
    state: Path, no_prefect, caplog: pytest.LogCaptureFixture
) -> None:
    # Prefect takes the handlers of the root logger away when it is imported.
    logging.getLogger("flows.runs").addHandler(caplog.handler)
    with connect(state):
        from prefect import get_client
        from prefect.states import Cancelling, Running

        with get_client(sync_client=True) as client:
            flow_run = client.create_flow_run(_flow(), state=Running())
            assert not cancel_requested(flow_run.id)
            client.set_flow_run_state(flow_run.id, Cancelling())
            assert cancel_requested(flow_run.id)
        for process in processes_of(state):
            process.kill()
        assert not cancel_requested(flow_run.id)
        assert not cancel_requested(flow_run.id)
    assert len([record for record in caplog.records if "does not answer" in record.message]) == 1


def _flow():
    from prefect import flow

    @flow
    def nothing() -> None:
        pass

    return nothing


def test_server_that_does_not_come_up_is_a_run_error(
    tmp_path: Path, no_prefect, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "state/prefect").mkdir(parents=True)
    (tmp_path / "state/prefect/prefect.db").write_bytes(b"no database" * 100)
    monkeypatch.setattr(server, "START_DEADLINE_S", 4.0)
    with (
        pytest.raises(RunError, match=r"server\.log: the embedded Prefect server did not answer"),
        connect(tmp_path / "state"),
    ):
        pass
    eventually(lambda: not processes_of(tmp_path / "state"))
    assert "not a database" in (tmp_path / "state/prefect/server.log").read_text()
    assert locks.take(tmp_path / "state/locks/users.lock") is not None
