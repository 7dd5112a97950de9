"""The DVC that a release needs, each call a child process that inherits the workspace lock.

Commands go through DVC's command line, which is its stable interface, under this Python, so that no PATH is needed.
What it does not offer (asking a remote what it really holds) is in dvc_objects.py, a child as well: DVC is imported there alone.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from synthmill.errors import ReleaseError

SITE_CACHE = Path(".dvc", "tmp", "site")  # DVC's default is shared by all users of the machine, and holds pickles


@dataclass(frozen=True, slots=True)
class Dvc:
    """The DVC repository at `root`; `lock_fd` is the workspace lock that every child inherits."""

    root: Path
    lock_fd: int | None = None

    def init(self) -> None:
        """Make the folder a DVC repository. `--force`: what a killed init left is in its way."""
        self._command("init", "--quiet", "--force")

    def commit(self, stage: str) -> None:
        """Record what lies in the stage's out, although no `dvc repro` ran it, in the cache and in dvc.lock."""
        self._command("commit", "--quiet", "--force", stage)

    def relink(self, out: str) -> None:
        """Replace the second copy, which `commit` leaves, by links to the cache."""
        self._command("checkout", "--quiet", "--relink", out)

    def restore(self, out: str) -> None:
        """Bring back what dvc.lock records, from the cache or else from the remote."""
        self._command("pull", "--quiet", "--force", out)

    def push(self, stage: str) -> None:
        """Upload the stage's out to the default remote."""
        self._command("push", "--quiet", stage)

    def lacks(self, store: Literal["cache", "remote"], objects: Mapping[str, int]) -> list[str]:
        """Names of the objects (name -> size in bytes) that the store does not hold whole; damaged ones are removed."""
        said = self._run("-m", "synthmill.store.dvc_objects", store, stdin=json.dumps(dict(objects)))
        return [str(name) for name in json.loads(said)]

    def _command(self, *arguments: str) -> str:
        return self._run("-m", "dvc", *arguments, stdin="")

    def _run(self, *arguments: str, stdin: str) -> str:
        site = {"DVC_SITE_CACHE_DIR": str(self.root / SITE_CACHE), "DVC_NO_ANALYTICS": "1", "DO_NOT_TRACK": "1"}
        done = subprocess.run(
            [sys.executable, "-P", *arguments],  # -P: a folder named `dvc` in the workspace must not shadow the package
            cwd=self.root,
            env={**os.environ, **site},
            input=stdin,
            text=True,
            capture_output=True,
            pass_fds=() if self.lock_fd is None else (self.lock_fd,),
            check=False,
        )
        if done.returncode == 0:
            return done.stdout
        words = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
        reason = next((line for line in words if line.startswith("ERROR:")), words[-1]).removeprefix("ERROR:").strip()
        step = arguments[1] if arguments[1] != "dvc" else f"dvc {arguments[2]}"
        raise ReleaseError(
            f"`{step.removeprefix('synthmill.store.')}` failed: {reason}",
            where=str(self.root),
            hint="Nothing was released. Mend what it names and run again: the release goes on from there.",
        )
