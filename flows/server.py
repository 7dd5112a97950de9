"""The API that a run talks to: the user's own server, or an embedded one, brought up on SQLite in state.

    run       holds users.lock shared for as long as it needs the API; starts a wrapper while nobody answers
    wrapper   `python -m flows.server STATE`, detached; holds server.lock for life, so a second one exits;
              stops the server as soon as it can take users.lock exclusively, that is when the last run left or died
    server    Prefect on a free loopback port, a child of the wrapper; stops at the end of its input, so it never outlives
              a killed wrapper, and until then keeps server.lock, so that no second server opens the database

Prefect's own ephemeral mode loses the last events of a run, and a lock around the start alone leaves two servers on one
database when the starter is killed. Nothing here imports Prefect before the environment says where it has to look.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
import time
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import psutil

from flows import locks
from flows.runs import EMBEDDED, RunFile, mark_crashed, open_run_file, require_answer
from synthmill.errors import InputError, RunError

START_DEADLINE_S = 60.0
_START_AGAIN_S = 5.0
_STOP_DEADLINE_S = 15.0
_SERVER_STARTS = 3
_POLL_S = 0.2

# Defaults of ours; what the user's environment says wins. Prefect's console stays silent because the run prints its own
# progress and errors; what the flows log still reaches the API, through the loggers named here.
_DEFAULTS = {
    "DO_NOT_TRACK": "1",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_RESULTS_DEFAULT_SERIALIZER": "json",
    "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "CRITICAL",
    "PREFECT_LOGGING_EXTRA_LOGGERS": "synthmill,generators,evaluators,flows",
    "PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW": "ignore",
}


@dataclass(frozen=True, slots=True)
class Connection:
    """Where the API is, and the file in which this run records its flow runs."""

    url: str
    is_embedded: bool
    run_file: RunFile


@contextmanager
def connect(state: Path, run_id: str | None = None) -> Iterator[Connection]:
    """Reach an API, and leave it with everything written. Import `prefect`, and flows, inside the block.

    Flow runs that killed runs left behind are marked crashed first. `Connection.run_file.record(flow_run_id)` must be
    called once a flow run exists. The environment is as before on exit. RunError when no server answers within 60 s.
    """
    state = state.resolve()
    own = user_api_url(os.environ)
    with ExitStack() as stack:
        url = own or stack.enter_context(_embedded(state))
        stack.enter_context(_environment(_DEFAULTS | os.environ if own else _embedded_environment(state, url)))
        stack.enter_context(_settings())
        if own:
            require_answer(own)
        server = own or EMBEDDED
        mark_crashed(state, server)
        run_file = stack.enter_context(open_run_file(state, run_id or uuid4().hex, server))
        yield Connection(url, server == EMBEDDED, run_file)


@contextmanager
def _embedded(state: Path) -> Iterator[str]:
    """The URL of the embedded server, which stays up for as long as the block holds users.lock."""
    with locks.held(state / "locks/users.lock", shared=True, deadline_s=START_DEADLINE_S):
        yield _join(state)


def user_api_url(environ: Mapping[str, str]) -> str | None:
    """PREFECT_API_URL of the environment, else of the user's active profile, else None.

    Reads the profile as Prefect would, and before PREFECT_HOME moves into state, which would hide it.
    """
    if url := environ.get("PREFECT_API_URL"):
        return url
    home = Path(environ.get("PREFECT_HOME") or "~/.prefect")
    path = Path(environ.get("PREFECT_PROFILES_PATH") or home / "profiles.toml").expanduser()
    if not path.is_file():
        return None
    try:
        profiles = tomllib.loads(path.read_text())
    except tomllib.TOMLDecodeError as error:
        raise InputError(
            f"the Prefect profiles are not TOML: {error}", where=str(path), hint="mend or remove it"
        ) from error
    active = environ.get("PREFECT_PROFILE") or profiles.get("active")
    return profiles.get("profiles", {}).get(active, {}).get("PREFECT_API_URL") or None


def _embedded_environment(state: Path, url: str) -> dict[str, str]:
    """Nothing of the user's Prefect but how it logs: a key or a database of theirs has no business with our server."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith("PREFECT_") or k.startswith("PREFECT_LOGGING_")}
    past_proxies = ",".join(filter(None, [kept.get("no_proxy") or kept.get("NO_PROXY"), "127.0.0.1"]))
    ours = {"PREFECT_HOME": str(state / "prefect"), "PREFECT_API_URL": url, "no_proxy": past_proxies}
    return _DEFAULTS | kept | ours


@contextmanager
def _environment(environment: Mapping[str, str]) -> Iterator[None]:
    """Put `environment` in place of os.environ; on exit restore what that changed, and keep what the block changed."""
    before = dict(os.environ)
    touched = {name for name in before.keys() | environment.keys() if before.get(name) != environment.get(name)}
    _assign(touched, environment)
    try:
        yield
    finally:
        _assign(touched, before)


def _assign(names: set[str], values: Mapping[str, str]) -> None:
    for name in names:
        if name in values:
            os.environ[name] = values[name]
        else:
            os.environ.pop(name, None)


def _settings() -> AbstractContextManager[object]:
    """Prefect reads the environment once, at import: where that is past, settings read anew, as a context manager."""
    if "prefect" not in sys.modules:
        return nullcontext()
    from prefect.context import root_settings_context

    return root_settings_context()


def _join(state: Path) -> str:
    """The URL of the embedded server, brought up unless another run did; users.lock must be held."""
    log = state / "prefect/server.log"
    deadline = time.monotonic() + START_DEADLINE_S
    next_start = time.monotonic()
    while time.monotonic() < deadline:
        if url := _answering_server(state):
            return url
        if time.monotonic() >= next_start:
            _start_wrapper(state, log)
            next_start = time.monotonic() + _START_AGAIN_S
        time.sleep(_POLL_S)
    raise RunError(
        f"the embedded Prefect server did not answer within {START_DEADLINE_S:.0f} s",
        where=str(log),
        hint="the log says why; or set PREFECT_API_URL to a server of your own, or run with --inline",
    )


def _answering_server(state: Path) -> str | None:
    """The URL in server.json, if the very wrapper that it names lives and the server answers.

    After a crash the port may belong to the embedded server of another state: hence the process and its start time.
    """
    import httpx

    try:
        server = json.loads((state / "prefect/server.json").read_text())
        wrapper = psutil.Process(server["pid"])
        if wrapper.create_time() != server["started"] or not wrapper.cmdline():  # one that is dying has none
            return None
        # The proxies of the environment know nothing of this machine's loopback.
        httpx.get(f"{server['url']}/health", timeout=2.0, trust_env=False).raise_for_status()
    except (FileNotFoundError, psutil.NoSuchProcess, httpx.HTTPError):
        return None
    return str(server["url"])


def _start_wrapper(state: Path, log: Path) -> None:
    """Start a wrapper in a session of its own, away from Ctrl-C, and from a `flows` or `.env` in the current folder."""
    log.parent.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-P", "-m", "flows.server", str(state)]
    with log.open("a") as output:
        subprocess.run(
            command,
            cwd=log.parent,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
            check=False,
        )


def watch(state: Path) -> None:
    """The wrapper's life: a server at one address for as long as there are users."""
    server_lock = locks.take(state / "locks/server.lock")
    if server_lock is None:
        return
    address = state / "prefect/server.json"
    address.unlink(missing_ok=True)
    os.truncate(state / "prefect/server.log", 0)  # the log of the last server is enough
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/api"
        locks.write_json(address, {"url": url, "pid": os.getpid(), "started": psutil.Process().create_time()})
        users_lock = _serve_users(state, url, keep_open=(listener.fileno(), server_lock))
    # A run that waits for users.lock starts the next wrapper as soon as it has it, so server.lock must be free by then.
    os.close(server_lock)
    if users_lock is not None:
        os.close(users_lock)


def _serve_users(state: Path, url: str, keep_open: tuple[int, int]) -> int | None:
    """Run a server until users.lock can be taken, which is returned; None when servers died under their users.

    A server that dies is started again: on the same socket, so that its clients, who retry for a minute, find it again.
    """
    users_lock = None
    for _ in range(_SERVER_STARTS):
        server = _start_server(state, url, keep_open)
        while server.poll() is None and users_lock is None:
            time.sleep(_POLL_S)
            users_lock = locks.take(state / "locks/users.lock")
        if users_lock is not None:
            break
    (state / "prefect/server.json").unlink()
    _stop_server(server)
    return users_lock


def _start_server(state: Path, url: str, keep_open: tuple[int, int]) -> subprocess.Popen[bytes]:
    environment = _embedded_environment(state, url) | {
        "PREFECT_LOGGING_LEVEL": "WARNING",
        "PREFECT_SERVER_LOGGING_LEVEL": "WARNING",
        "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "WARNING",
        "PREFECT_SERVER_SERVICES_EVENT_PERSISTER_FLUSH_INTERVAL": "1",  # a run waits for its events before it leaves
    }
    command = [sys.executable, "-P", "-c", f"from flows.server import serve; serve({keep_open[0]})"]
    return subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, pass_fds=keep_open)


def _stop_server(server: subprocess.Popen[bytes]) -> None:
    assert server.stdin is not None
    server.stdin.close()
    try:
        server.wait(_STOP_DEADLINE_S)
    except subprocess.TimeoutExpired:
        server.kill()
        server.wait()


def serve(listener: int) -> None:
    """`prefect server start` on a bound socket, until standard input ends: by the wrapper's wish or by its death."""
    import uvicorn
    from prefect.server.api.server import create_app

    config = uvicorn.Config(create_app(final=True), log_level="warning", timeout_graceful_shutdown=5)
    server = uvicorn.Server(config)

    def stop_at_end_of_input() -> None:
        sys.stdin.buffer.read()
        server.should_exit = True

    threading.Thread(target=stop_at_end_of_input, daemon=True).start()
    server.run(sockets=[socket.socket(fileno=listener)])


if __name__ == "__main__":
    if (
        os.fork() == 0
    ):  # the run is not the parent, so it has no child to reap and a tree of its processes does not name us
        watch(Path(sys.argv[1]))
