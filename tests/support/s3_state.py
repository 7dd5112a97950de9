"""A real S3 server in a process of its own, and workspaces whose state lies there."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

KEY, SECRET = "synthmill-test", "synthmill-test-secret"
_PERSON = ["-c", "user.name=A Person", "-c", "user.email=person@example.org"]
_START_S = 20.0


@dataclass
class S3:
    """Buckets are the folders in `folder`; the port stays the same over a restart.

    The server remembers which files there are; with --dir-cache-time 0s it hangs when several are put at once.
    """

    folder: Path
    port: int
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def start(self) -> None:
        settings = ["--config", "", "--auth-key", f"{KEY},{SECRET}"]
        program = Path(sys.executable).with_name("rclone")
        command = [program, "serve", "s3", self.folder, *settings, "--addr", f"127.0.0.1:{self.port}"]
        self.processes.append(subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))
        deadline = time.monotonic() + _START_S
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port)).close()
            except OSError:
                assert time.monotonic() < deadline, "the S3 server does not start"
                time.sleep(0.02)
            else:
                return

    def kill(self) -> None:
        for process in self.processes:
            process.kill()
            process.wait()
        self.processes.clear()

    def objects(self, pattern: str) -> list[Path]:
        return [path for path in (self.folder / "bucket").glob(pattern) if path.is_file()]


@contextlib.contextmanager
def serving(folder: Path) -> Iterator[S3]:
    """A server with one bucket, named `bucket`, whose credentials are in the environment for the block."""
    (folder / "bucket").mkdir(parents=True)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        server = S3(folder, taken.getsockname()[1])
    before = {name: os.environ.get(name) for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")}
    os.environ.update({"AWS_ACCESS_KEY_ID": KEY, "AWS_SECRET_ACCESS_KEY": SECRET})
    server.start()
    try:
        yield server
    finally:
        server.kill()
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def share(workspace: Path, server: S3, uri: str) -> None:
    """Give a workspace its state on the server, and commit all that is in it."""
    endpoint = f"http://127.0.0.1:{server.port}"
    text = f'state = "{uri}"\n[storage]\nendpoint_url = "{endpoint}"\nregion = "us-east-1"\n'
    (workspace / "synthmill.toml").write_text(text)
    _git(workspace, "add", "--all")
    _git(workspace, "commit", "--quiet", "-m", "Share the state")


def clone(workspace: Path, name: str) -> Path:
    """Another machine: what git has, and nothing else."""
    _git(workspace.parent, "clone", "--quiet", workspace.name, name)
    return workspace.parent / name


def _git(folder: Path, *arguments: str) -> None:
    subprocess.run(["git", *_PERSON, *arguments], cwd=folder, check=True)
