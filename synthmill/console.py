"""What a person sees while a run goes on: live bars on a terminal, plain lines elsewhere. All of it on stderr."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Protocol, Self

_PLAIN_EVERY_S = 0.5


class Reporter(Protocol):
    """Where stages announce themselves. `task` names one piece of long work; the last call of a task has done == total."""

    def say(self, line: str) -> None:
        """One line of words."""

    def progress(self, task: str, done: int, total: int, note: str = "") -> None:
        """`done` of `total` units of the task are finished; `note` is what else there is to know."""


@dataclass
class PlainReporter:
    """Lines for logs and pipes: at most one in half a second a task, none twice, and always the last."""

    _last: dict[str, tuple[float, str]] = field(default_factory=dict)

    def say(self, line: str) -> None:
        """Print the line."""
        print(line, file=sys.stderr, flush=True)  # noqa: T201

    def progress(self, task: str, done: int, total: int, note: str = "") -> None:
        """Print the state of the task."""
        now, line = time.monotonic(), f"{task}: {done:,} of {total:,}{', ' + note if note else ''}"
        then, before = self._last.get(task, (-_PLAIN_EVERY_S, ""))
        if line != before and (done >= total or now - then >= _PLAIN_EVERY_S):
            self._last[task] = now, line
            self.say(line)


class LiveReporter:
    """Bars on a terminal. Use as a context manager, so that the cursor comes back whatever happens."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

        count = TextColumn("{task.completed:,.0f} of {task.total:,.0f}")
        words = TextColumn("{task.description}"), BarColumn(bar_width=24), count, TimeElapsedColumn()
        self._bars = Progress(*words, TextColumn("{task.fields[note]}"), console=Console(stderr=True))
        self._tasks: dict[str, object] = {}
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        self._stack.enter_context(self._bars)
        return self

    def __exit__(self, *exc: object) -> None:
        self._stack.close()

    def say(self, line: str) -> None:
        """Print the line above the bars."""
        self._bars.console.print(line, highlight=False, markup=False)

    def progress(self, task: str, done: int, total: int, note: str = "") -> None:
        """Move the task's bar, made at its first call."""
        if task not in self._tasks:
            self._tasks[task] = self._bars.add_task(task, total=total, note=note)
        self._bars.update(self._tasks[task], completed=done, total=total, note=note)  # type: ignore[arg-type]


@contextmanager
def reporting() -> Iterator[Reporter]:
    """Bars where stderr is a terminal, lines elsewhere."""
    if sys.stderr.isatty():
        with LiveReporter() as live:
            yield live
    else:
        yield PlainReporter()


def duration(seconds: float) -> str:
    """Seconds as a person says them: 42 s, 3 min 5 s, 2 h 10 min."""
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def size(size_bytes: float) -> str:
    """Bytes in decimal units: 1.2 MB."""
    for unit in ("B", "kB", "MB", "GB"):
        if size_bytes < 1000:
            return f"{size_bytes:.3g} {unit}"
        size_bytes /= 1000
    return f"{size_bytes:.3g} TB"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Left-aligned columns under a ruled head; columns of numbers to the right."""
    widths = [max(len(str(row[i])) for row in (head, *rows)) for i in range(len(head))]
    is_number = [all(not row[i] or row[i][0] in "-.0123456789" for row in rows) for i in range(len(head))]

    def line(cells: Sequence[str]) -> str:
        padded = (c.rjust(w) if n else c.ljust(w) for c, w, n in zip(cells, widths, is_number, strict=True))
        return "  ".join(padded).rstrip()

    return [line(head), "  ".join("-" * width for width in widths), *map(line, rows)]
