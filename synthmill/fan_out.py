"""Many tasks side by side on this machine, each process kept for the next task."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from multiprocessing.connection import Connection
from typing import TypeVar

from synthmill.child import Child, Done, Failure, Lost, Note, attempt, first_ready

Shared = TypeVar("Shared")
Task = TypeVar("Task")
Result = TypeVar("Result")

ATTEMPTS = 2  # a task whose process dies twice is given up: it may be the task that kills it


def fan_out(
    make: Callable[[Shared], Callable[[Task], Result]],
    shared: Shared,
    tasks: Sequence[Task],
    *,
    processes: int,
    progress: Note,
    should_stop: Callable[[], bool],
) -> list[Result | Failure]:
    """`make(shared)(task)` for every task, in `processes` processes; the results in the order of the tasks.

    A Failure stands for a task that raised, or whose process died ATTEMPTS times. Raises Interrupted.
    """
    waiting, lost = deque(range(len(tasks))), Counter[int]()
    results: dict[int, Result | Failure] = {}
    busy: dict[Child, int] = {}
    idle: list[Child] = []
    with ExitStack() as stack:

        def send(place: int) -> None:
            child = idle.pop() if idle else stack.enter_context(Child(_answer, make, shared))
            child.send(tasks[place])
            busy[child] = place

        while len(results) < len(tasks):
            while waiting and len(busy) < processes:
                send(waiting.popleft())
            child = first_ready(list(busy), should_stop)
            place = busy.pop(child)
            try:
                answer = child.wait(should_stop)
            except Lost as death:
                lost[place] += 1
                if lost[place] < ATTEMPTS:
                    waiting.appendleft(place)
                    continue
                answer = Failure(f"lost {ATTEMPTS} times: {death}", "", None)
            else:
                idle.append(child)
            results[place] = answer.result if isinstance(answer, Done) else _failure(answer)
            progress("tasks", len(results), len(tasks))
    return [results[place] for place in range(len(tasks))]


def _failure(answer: object) -> Failure:
    assert isinstance(answer, Failure)
    return answer


def _answer(pipe: Connection, make: Callable[[Shared], Callable[[Task], Result]], shared: Shared) -> None:
    """In the child: an answer for every task."""
    do = make(shared)
    while True:
        pipe.send(attempt(do, pipe.recv()))
