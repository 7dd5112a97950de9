"""Runs on a disk that is full at a chosen stage: a small tmpfs in a mount namespace of its own, and a ballast file in it.

unshare -rm python -m support.full_disk WORKSPACE RECIPE MOUNT  > a JSON list, one entry a run
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

from support.commands import good, synthmill

PAGE = 4096  # what a tmpfs gives out
FOLDERS = ("sources", "models", "shards", "candidates", "datasets")


@dataclass(frozen=True)
class FullRun:
    """One run: the folder where it met the full disk ("" where it did not), and what it left unfinished."""

    folder: str
    code: int
    message: str
    leftovers: list[str]


def is_possible() -> bool:
    command = ["unshare", "-rm", "mount", "-t", "tmpfs", "tmpfs", "/mnt"]
    return bool(shutil.which("unshare")) and subprocess.run(command, capture_output=True, check=False).returncode == 0


def runs_with_little_space(workspace: Path, recipe: Path, mount: Path) -> list[FullRun]:
    """Place a recipe in a copy of the workspace on a small disk. Each run has the space that the last one lacked, and no more."""
    command = ["unshare", "-rm", sys.executable, "-m", "support.full_disk", workspace, recipe, mount]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return [FullRun(**run) for run in json.loads(done.stdout)]


def main(workspace: Path, recipe: Path, mount: Path) -> None:
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=32m", "tmpfs", mount], check=True)
    root = mount / "ws"
    shutil.copytree(workspace, root, symlinks=True, ignore=shutil.ignore_patterns(".synthmill", "remote"))
    state = root / ".synthmill"
    good(root, "run", recipe, "--inline")
    spaces = [0, *_pages_by_step(state)]
    shutil.rmtree(state)
    runs = []
    for pages in [*spaces, 4000]:
        _leave_free(mount, pages)
        done = synthmill(root, "run", recipe, "--inline", "--place")
        message = done.err[done.err.find("error: ") :] if done.code else ""
        folder = next((name for name in FOLDERS if f"/{name}/" in message.partition(": the disk")[0]), "")
        leftovers = [str(path) for pattern in (".tmp-*", ".*.new", ".*.old") for path in root.rglob(pattern)]
        runs.append(FullRun(folder, done.code, message, leftovers))
    json.dump([asdict(run) for run in runs], sys.stdout)


def _pages_by_step(state: Path) -> list[int]:
    """What a finished run has stored: split source, model, shards, rows of the candidate, its description and what `--place` notes."""
    [candidate] = (state / "candidates").iterdir()
    rows = _pages(candidate / "dataset/data") + _pages(candidate / "counts.json")
    noted = 6  # record of the placement, dvc.yaml, metrics, two plots, and a page of the first file that is copied
    return [*(_pages(state / name) for name in FOLDERS[:3]), rows, _pages(candidate) - rows + noted]


def _pages(path: Path) -> int:
    files = [path] if path.is_file() else [inner for inner in path.rglob("*") if inner.is_file()]
    return sum(-(-file.stat().st_size // PAGE) for file in files)


def _leave_free(mount: Path, pages: int) -> None:
    ballast = mount / "ballast"
    ballast.unlink(missing_ok=True)
    free = os.statvfs(mount).f_bavail
    with ballast.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, (free - pages) * PAGE)


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
