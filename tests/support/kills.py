"""Runs of the real command in a real workspace, killed when a chosen line of progress appears; and what they must come to.

No sleeps and no hooks: the line that a person would see is the signal, SIGKILL is the answer, and the next run has to heal.
"""

from __future__ import annotations

import contextlib
import json
import re
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import psutil

from synthmill.fingerprint import hash_folder
from synthmill.store.staging import Receipt

# Sampling is slow for its rows (wide and deep), so that a run shows how far it is before it is done; the fit is short. Four strata
# of 3,000 rows are at least twelve shards of one micro-batch each; sixty files give a kill time to come while they are written.
RECIPE = """\
format: 1
dataset: fair
source:
  path: statsmodels:fair
  target: yrs_married
  columns: {religious: {kind: category}}
seed: 7
jobs:
  - generator: table/vae
    rows: 12_000
    balance: religious
    params: {steps: STEPS, batch: 64, width: 256, depth: 6, refine: false}
rules: ["age > yrs_married"]
scores: [fidelity/shape]
gates:
  fidelity/shape: {at_least: 0.1}
release: {rows_per_file: 200}
"""
ROWS, STEPS = 12_000, 60
WORKERS = ("ray::Fitter", "ray::Shards", "multiprocessing.spawn")
"""How the command lines of those who fit, sample and score begin or go on: actors on Ray, else children of the driver."""

_BIN = Path(sys.executable).parent


@dataclass(frozen=True)
class Kill:
    """SIGKILL once `count` lines that begin as the pattern `line` says have appeared; to the driver, or to its workers."""

    line: str
    worker: bool = False
    count: int = 1


@dataclass(frozen=True)
class Strike:
    """A kill that was done, with how many rows had a receipt just after it."""

    kill: Kill
    victim: str
    staged_rows: int


@dataclass(frozen=True)
class Ran:
    """A run that ended, one way or the other."""

    code: int
    lines: tuple[str, ...]  # of stderr, up to the driver's death
    strikes: tuple[Strike, ...]


@dataclass(frozen=True)
class Release:
    """All that a release is to others. Equal for equal bytes; run ids, times and so commits are not in it."""

    sha256: str  # of the files
    tag: str
    dvc_lock: str
    metrics: str


def make_workspace(root: Path) -> Path:
    """A workspace with the recipe, in which a fit is kept at each line that it shows."""
    _command(root.parent, "synthmill", "init", root.name)
    with (root / "synthmill.toml").open("a") as settings:
        settings.write("[engine]\ncheckpoint_every_s = 0\n")
    (root / "recipes" / "fair.yaml").write_text(RECIPE.replace("STEPS", str(STEPS)))
    return root


def run(root: Path, *options: str, kills: Iterable[Kill] = (), recipe: str = "recipes/fair.yaml") -> Ran:
    """`synthmill run --release` to its end, or to the first kill of its driver; the kills come in their order."""
    command = [_BIN / "synthmill", "run", recipe, "--release", *options]
    with subprocess.Popen(command, cwd=root, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as driver:
        assert driver.stderr is not None
        lines, strikes = _watch(root, psutil.Process(driver.pid), driver.stderr, list(kills))
    return Ran(driver.returncode, tuple(lines), tuple(strikes))


def _watch(root: Path, driver: psutil.Process, stderr: IO[str], waiting: list[Kill]) -> tuple[list[str], list[Strike]]:
    lines: list[str] = []
    strikes: list[Strike] = []
    seen = 0
    for line in stderr:
        lines.append(line.rstrip())
        if not waiting or not re.match(waiting[0].line, line):
            continue
        seen += 1
        if seen == waiting[0].count:
            victim = _kill(driver, worker=waiting[0].worker)
            strikes.append(Strike(waiting.pop(0), victim, staged_rows(root)))
            seen = 0
            if victim == "driver":
                break  # what it left may hold the pipe open for a while
    return lines, strikes


def _kill(driver: psutil.Process, *, worker: bool) -> str:
    """Kill the workers, or the driver where there are none to kill; says whom.

    All workers at once: the one whose shard moved the line is between two shards, the other one is in the middle of its own.
    """
    killed: set[str] = set()
    if worker:
        for process in driver.children(recursive=True):
            with contextlib.suppress(psutil.Error):
                name = next((name for name in WORKERS if name in " ".join(process.cmdline())), None)
                if name:
                    process.kill()
                    killed.add(name)
    if not killed:
        driver.kill()
        killed.add("driver")
    return " ".join(sorted(killed))


def receipts(root: Path) -> list[Receipt]:
    """The receipts of all shards in state."""
    paths = (root / ".synthmill" / "shards").glob("*/[0-9]*-*.json")
    return [Receipt(**json.loads(path.read_text())) for path in paths]


def staged_rows(root: Path) -> int:
    """Rows that receipts prove."""
    return sum(receipt.rows for receipt in receipts(root))


def released(root: Path) -> Release:
    """The release of a workspace, once DVC and `synthmill verify` find nothing to say against it."""
    assert "up to date" in _command(root, "dvc", "status")
    _command(root, "synthmill", "verify", "datasets/fair")
    tags = _command(root, "git", "tag").split()
    assert len(tags) == 1, tags
    committed = [_command(root, "git", "show", f"{tags[0]}:{name}") for name in ("dvc.lock", "metrics/fair.json")]
    return Release(hash_folder(root / "datasets" / "fair"), tags[0], *committed)


def survivors(root: Path) -> list[psutil.Process]:
    """Processes that still live under `root` although its runs are over. Ray's agents take a minute to see that they are orphans."""
    found = [process for process in psutil.process_iter() if _lives_in(process, root)]
    _, alive = psutil.wait_procs(found, timeout=120)
    return alive


def _lives_in(process: psutil.Process, root: Path) -> bool:
    try:
        return Path(process.cwd()).is_relative_to(root)
    except psutil.Error:  # gone, or somebody else's
        return False


def _command(folder: Path, name: str, *arguments: str) -> str:
    program = _BIN / name if (_BIN / name).exists() else name
    done = subprocess.run([program, *arguments], cwd=folder, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()
