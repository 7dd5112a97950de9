"""Storage servers in processes of their own, and a proxy before one that does to requests what networks and servers do."""

from __future__ import annotations

import contextlib
import http.client
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

KEY, SECRET = "synthmill-test", "synthmill-test-secret"
_START_S = 20.0


@contextlib.contextmanager
def rclone(kind: str, folder: Path, *options: str, before: Sequence[str] = ()) -> Iterator[int]:
    """`rclone serve KIND` of a folder; yields its port. `before` is a command that starts it.

    Do not change the folder behind its back: it remembers folders, and with `--dir-cache-time 0s` it hung under concurrent puts.
    """
    port = free_port()
    program = Path(sys.executable).with_name("rclone")
    settings = ["--config", "", "--addr", f"127.0.0.1:{port}", *options]
    command = [*before, str(program), "serve", kind, str(folder), *settings]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            _wait_for(port)
            yield port
        finally:
            process.kill()


def s3(folder: Path, **options: Sequence[str]) -> contextlib.AbstractContextManager[int]:
    """An S3 server whose buckets are the folders in `folder`."""
    return rclone("s3", folder, "--auth-key", f"{KEY},{SECRET}", **options)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return taken.getsockname()[1]


def _wait_for(port: int) -> None:
    deadline = time.monotonic() + _START_S
    while True:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.02)
        else:
            return


class Proxy:
    """Passes requests on to a server. `fault` is asked before each (its number from 1, method, path) and may name what becomes of it.

    a status such as "503": refused with it. "reset": the connection is closed. "half": so it is after half of the body has come. "hang": no
    answer. "alter": one byte of what is put is another one by then.
    """

    def __init__(self, port: int) -> None:
        self.port, self.fault = port, no_fault
        self.requests: list[tuple[str, str, str]] = []  # method, path, fault
        self.released = threading.Event()
        self._lock = threading.Lock()

    def url(self, path: str = "") -> str:
        return f"http://127.0.0.1:{self.own_port}/{path}"

    def puts(self) -> list[str]:
        return [path for method, path, fault in self.requests if method == "PUT" and not fault and "files/md5" in path]

    def __enter__(self) -> Proxy:
        proxy = self

        class Handler(_Handler):
            owner = proxy

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.own_port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, daemon=True, kwargs={"poll_interval": 0.02}).start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.released.set()
        self._server.shutdown()
        self._server.server_close()

    def judge(self, method: str, path: str) -> str:
        with self._lock:
            fault = self.fault(len(self.requests) + 1, method, path)
            self.requests.append((method, path, fault))
        return fault


def no_fault(number: int, method: str, path: str) -> str:
    return ""


def every_third(number: int, method: str, path: str) -> str:
    """The faults that pass, by turns."""
    return ("503", "reset", "half")[number // 3 % 3] if number % 3 == 0 else ""


def dies_after(puts: int) -> Callable[[int, str, str], str]:
    """Dead from that put on."""
    seen = [0]

    def fault(number: int, method: str, path: str) -> str:
        seen[0] += method == "PUT"
        return "reset" if seen[0] > puts else ""

    return fault


class _Handler(BaseHTTPRequestHandler):
    owner: Proxy
    protocol_version = "HTTP/1.1"

    def handle_one_request(self) -> None:
        with contextlib.suppress(ConnectionError):
            super().handle_one_request()

    def log_message(self, format: str, *args: object) -> None:
        pass

    def _pass_on(self) -> None:
        fault = self.owner.judge(self.command, self.path)
        if fault == "hang":
            self.owner.released.wait()
        if fault in ("reset", "hang"):
            self._reset()
            return
        body = self._body(half=fault == "half")
        if fault == "half":
            self._reset()
        elif fault.isdigit():
            self._answer(int(fault), [], b"")
        else:
            if fault == "alter" and body:
                body = bytes([body[0] ^ 1]) + body[1:]
            self._answer(*self._ask(body))

    def _reset(self) -> None:
        self.close_connection = True
        self.connection.close()

    def _body(self, *, half: bool) -> bytes:
        if self.headers.get("Expect", "").lower() == "100-continue":
            self.send_response_only(100)
            self.end_headers()
        if "chunked" in self.headers.get("Transfer-Encoding", ""):
            return b"".join(self._chunks())
        length = int(self.headers.get("Content-Length", 0))
        return self.rfile.read(length // 2 if half else length)

    def _chunks(self) -> Iterator[bytes]:
        while size := int(self.rfile.readline().split(b";")[0], 16):
            yield self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()

    def _ask(self, body: bytes) -> tuple[int, list[tuple[str, str]], bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.owner.port)
        dropped = {"connection", "transfer-encoding", "content-length", "expect"}
        headers = {name: value for name, value in self.headers.items() if name.lower() not in dropped}
        with contextlib.closing(connection):
            connection.request(self.command, self.path, body, {**headers, "Content-Length": str(len(body))})
            answer = connection.getresponse()
            return answer.status, answer.getheaders(), answer.read()

    def _answer(self, status: int, headers: list[tuple[str, str]], body: bytes) -> None:
        self.send_response_only(status)
        lengths = [value for name, value in headers if name.lower() == "content-length"]
        for name, value in headers:
            if name.lower() not in ("connection", "transfer-encoding", "content-length"):
                self.send_header(name, value)
        is_head = self.command == "HEAD" and lengths
        self.send_header("Content-Length", lengths[0] if is_head else str(len(body)))
        self.end_headers()
        self.wfile.write(b"" if self.command == "HEAD" else body)

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = do_OPTIONS = do_PROPFIND = do_MKCOL = do_MOVE = _pass_on


def small_disk(size_kb: int, folder: Path) -> list[str]:
    """A command before which a server's folder is a disk of that size."""
    mount = f'mount -t tmpfs -o size={size_kb}k tmpfs {folder} && mkdir {folder}/bucket && exec "$@"'
    return ["unshare", "-rm", "sh", "-c", mount, "sh"]


def can_mount() -> bool:
    command = ["unshare", "-rm", "mount", "-t", "tmpfs", "tmpfs", "/mnt"]
    return bool(shutil.which("unshare")) and subprocess.run(command, capture_output=True, check=False).returncode == 0
