"""The `synthmill` command as a user calls it, in this process: what it prints, and its exit code."""

from __future__ import annotations

import contextlib
import io
import logging
import sys
from dataclasses import dataclass
from pathlib import Path
from unittest.mock import patch

from synthmill.cli import main

LOGGERS = ("synthmill", "generators", "evaluators", "flows")


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
        try:
            main()
        except SystemExit as end:
            code = int(end.code or 0)
        else:
            code = 0
    for name in LOGGERS:
        logging.getLogger(name).handlers = handlers[name]
    return Done(code, out.getvalue(), err.getvalue())


def good(folder: Path, *arguments: str | Path) -> Done:
    """The same, for a command that has to succeed."""
    done = synthmill(folder, *arguments)
    assert done.code == 0, done.err
    return done


def tree(folder: Path, *ignored: str) -> dict[str, tuple[int, int]]:
    """Every file under `folder` with size and time of change, but those whose path begins with one of `ignored`."""
    paths = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*")}
    kept = {name: path.lstat() for name, path in paths.items() if not name.startswith(ignored)}
    return {name: (found.st_size, found.st_mtime_ns) for name, found in kept.items()}
