"""The `synthmill` command as a user calls it, in this process: what it prints, and its exit code."""

from __future__ import annotations

import contextlib
import io
import logging
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from unittest.mock import patch

from synthmill.cli import execute

LOGGERS = ("synthmill", "generators", "evaluators", "flows")
CITIES = ("Oslo", "Pisa", "Riga")


@dataclass(frozen=True)
class Done:
    """A command that came to its end."""

    code: int
    out: str
    err: str


def synthmill(folder: Path, *arguments: str | Path) -> Done:
    """`synthmill ARGUMENTS` in `folder`. Its children are real processes; the command itself is not, which saves a start."""
    out, err = io.StringIO(), io.StringIO()
    handlers = {name: [*logging.getLogger(name).handlers] for name in LOGGERS}
    argv = ["synthmill", *map(str, arguments)]
    with (
        contextlib.chdir(folder),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
        patch.object(sys, "argv", argv),
    ):
        code = execute()
    for name in LOGGERS:
        logging.getLogger(name).handlers = handlers[name]
    return Done(code, out.getvalue(), err.getvalue())


def good(folder: Path, *arguments: str | Path) -> Done:
    """The same, for a command that has to succeed."""
    done = synthmill(folder, *arguments)
    assert done.code == 0, done.err
    return done


def tree(folder: Path) -> dict[str, tuple[int, int] | None]:
    """Every file under `folder` with size and time of change, and every folder; without what git keeps for itself."""
    paths = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*")}
    kept = {name: path for name, path in paths.items() if not name.startswith(".git/")}
    return {
        name: None if path.is_dir() else (path.lstat().st_size, path.lstat().st_mtime_ns) for name, path in kept.items()
    }


def make_workspace(folder: Path) -> Path:
    """A new workspace with data/people.csv, 1,200 rows: an integer, a number that is 1 in every fiftieth row, and a category."""
    good(folder.parent, "init", folder.name)
    (folder / "data").mkdir()
    rows = [f"{20 + i * 7 % 40},{1 if i % 50 == 0 else i * 13 % 977 / 1000},{CITIES[i % 3]}" for i in range(1200)]
    (folder / "data" / "people.csv").write_text("\n".join(["age,score,city", *rows, ""]))
    return folder


def write_recipe(workspace: Path, name: str = "people", rest: str = "", **keys: str | None) -> Path:
    """recipes/NAME.yaml with one key a line, each an YAML value; None leaves a key out, `rest` stands below."""
    usual = {"dataset": name, "source": "{path: data/people.csv}", "jobs": "[{generator: table/noise, rows: 50}]"}
    lines = [f"{key}: {value}" for key, value in {**usual, **keys}.items() if value is not None]
    path = workspace / "recipes" / f"{name}.yaml"
    path.write_text("\n".join([*lines, rest, ""]))
    return path.relative_to(workspace)


def git_status(workspace: Path) -> str:
    """What git sees changed, each untracked file on a line of its own."""
    command = ["git", "status", "--porcelain", "--untracked-files=all"]
    return subprocess.run(command, cwd=workspace, check=True, capture_output=True, text=True).stdout
