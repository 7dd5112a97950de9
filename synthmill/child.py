"""A process of our own for work that must not share ours: spawned, never forked, and gone as soon as its parent is.

What fails in there comes back whole: errors of ours as they are, others by type and message with the traceback in the log, a death
with its signal.
"""

from __future__ import annotations

import logging
import math
import multiprocessing
import os
import signal
import sys
import threading
import time
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from types import TracebackType
from typing import Generic, NoReturn, Self, TypeVar, TypeVarTuple

from synthmill.errors import Interrupted, RunError, SynthmillError

logger = logging.getLogger(__name__)

Args = TypeVarTuple("Args")
Task = TypeVar("Task")
Result = TypeVar("Result")

Note = Callable[[str, int, int], None]
"""Hears of work within a call: its name, units done, units in all."""

ENVIRONMENT = {
    "OMP_WAIT_POLICY": "PASSIVE",  # spinning threads make torch many times slower where anything else runs
    "OMP_NUM_THREADS": "1",  # what Ray gives its actors; sums differ in bits between thread counts
}
AGAIN = "run again: what is finished is kept"
POLL_S = 1.0  # how often `should_stop` is asked
_GRACE_S = 5.0


class Lost(Exception):
    """The process is of no more use, and nobody asked it to stop; the message says why."""


@dataclass(frozen=True, slots=True)
class Failure:
    """An exception on its way from one process to another."""

    summary: str  # type and message
    trace: str
    error: SynthmillError | None  # the exception itself where it is one of ours

    @classmethod
    def of(cls, error: Exception) -> Self:
        """Take an exception apart: those of libraries may not pickle."""
        ours = error if isinstance(error, SynthmillError) else None
        return cls(_summary(error), "".join(traceback.format_exception(error)), ours)

    def log(self, what: str) -> None:
        """Leave the traceback of another's error in the log."""
        if self.error is None:
            logger.error("%s failed: %s", what, self.trace)

    def raise_as(self, kind: type[RunError], what: str) -> NoReturn:
        """Raise it here: ours as it was, another's as `kind`."""
        self.log(what)
        raise self.error or kind(f"{what} failed: {self.summary}", hint="the log has the traceback")


def _summary(error: Exception) -> str:
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__


@dataclass(frozen=True, slots=True)
class Done(Generic[Result]):
    """The result of a function that came to its end."""

    result: Result


def attempt(function: Callable[[*Args], Result], *args: *Args) -> Done[Result] | Failure:
    """Call a function where an exception must not end the process, but be reported."""
    try:
        return Done(function(*args))
    except Exception as error:  # noqa: BLE001 - this is the worker's side of the border
        return Failure.of(error)


class Child:
    """A spawned process that runs `function(pipe, *args)`; talk to it by `send` and `receive`, leave the block to kill it."""

    def __init__(self, function: Callable[..., object], *args: object) -> None:
        self._pipe, theirs = multiprocessing.get_context("spawn").Pipe()
        self._process = multiprocessing.get_context("spawn").Process(target=_main, args=(theirs,), daemon=True)
        with theirs, _prepared():
            self._process.start()
        self._first = (function, args)

    def __enter__(self) -> Self:
        self.send(self._first)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()

    @property
    def pipe(self) -> Connection:
        """To wait for several at once."""
        return self._pipe

    def send(self, message: object) -> None:
        """Give it something to read from its pipe. That it died shows when it is waited for."""
        with suppress(OSError):
            self._pipe.send(message)

    def wait(self, should_stop: Callable[[], bool], deadline_s: float = math.inf) -> object:
        """Its next message; raises Interrupted once `should_stop` says yes, Lost when it died or `deadline_s` has passed."""
        started = time.monotonic()
        while not should_stop():
            left_s = started + deadline_s - time.monotonic()
            if left_s <= 0:
                raise Lost(f"not finished after {deadline_s:.0f} s")
            try:
                if self._pipe.poll(min(POLL_S, left_s)):
                    return self._pipe.recv()
            except (EOFError, OSError):
                if should_stop():  # a signal to the whole process group is a wish to stop, not a fault
                    break
                raise Lost(self._cause()) from None
        raise interrupted()

    def kill(self) -> None:
        """End it at once; its files are either whole or named as unfinished, so it needs no warning."""
        self._process.kill()
        self._process.join()
        self._process.close()
        self._pipe.close()

    def _cause(self) -> str:
        self._process.join(_GRACE_S)
        return cause_of_death(self._process.exitcode)


def first_ready(children: Sequence[Child], should_stop: Callable[[], bool]) -> Child:
    """The first of several that has something to say, or died; raises Interrupted."""
    by_pipe = {child.pipe: child for child in children}
    while not should_stop():
        for pipe in wait(list(by_pipe), POLL_S):
            return by_pipe[pipe]  # type: ignore[index]
    raise interrupted()


def cause_of_death(exitcode: int | None) -> str:
    """How a process ended, in words."""
    if exitcode is None:
        return "the process closed its pipe and hangs"
    if exitcode >= 0:
        return f"the process exited with code {exitcode}"
    name = signal.Signals(-exitcode).name
    guess = ", perhaps by the kernel for memory" if name == "SIGKILL" else ""
    return f"the process was killed by {name}{guess}"


def call(
    function: Callable[[Task, Note], Result], task: Task, *, progress: Note, should_stop: Callable[[], bool]
) -> Result:
    """Run a plain function that pickles in a process of its own; raises what it raises, RunError, Interrupted.

    What the function tells its second argument, `progress` hears here.
    """
    what = getattr(function, "__name__", repr(function))
    try:
        with Child(_answer, function, task) as child:
            while isinstance(answer := child.wait(should_stop), tuple):
                progress(*answer)
    except Lost as lost:
        raise RunError(f"{what} failed: {lost}", hint=AGAIN) from None
    if isinstance(answer, Failure):
        answer.raise_as(RunError, what)
    assert isinstance(answer, Done)
    result: Result = answer.result
    return result


def interrupted() -> Interrupted:
    """What an engine raises once `should_stop` said yes."""
    return Interrupted("stopped before the end", hint=AGAIN)


def _answer(pipe: Connection, function: Callable[[Task, Note], object], task: Task) -> None:
    pipe.send(attempt(function, task, lambda name, done, total: pipe.send((name, done, total))))


@contextmanager
def _prepared() -> Iterator[None]:
    """What is started in the block inherits ENVIRONMENT, and no Ctrl-C in the terminal reaches it from its first instruction on."""
    resource_tracker.ensure_running()  # its start unblocks SIGINT again, so it comes first
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    environment = {name: os.environ.get(name) for name in ENVIRONMENT}
    os.environ.update(ENVIRONMENT)
    try:
        yield
    finally:
        for name, value in environment.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)


def _main(pipe: Connection) -> None:
    """The child's side: prepare the process before anything heavy is imported, then do what the pipe says."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the driver decides
    threading.Thread(target=_die_with_parent, daemon=True).start()
    prepare_process()
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # stdout is for results
    try:
        function, args = pipe.recv()
        function(pipe, *args)
    except (EOFError, BrokenPipeError):
        os._exit(1)  # the parent is gone, or no longer listens
    except Exception as error:  # noqa: BLE001 - such as arguments that do not unpickle, or a result that does not pickle
        pipe.send(Failure.of(error))


def prepare_process() -> None:
    """Threads that sleep while they wait, and no warnings of libraries among the words for people."""
    os.environ.update(ENVIRONMENT)
    warnings.simplefilter("ignore")


def _die_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)
