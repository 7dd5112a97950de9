"""Tasks on actors: each is kept for the next task, and one that dies is replaced."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import ray
from ray.exceptions import RayError

from synthmill.child import POLL_S, Done, Failure, Note, interrupted
from synthmill.fan_out import ATTEMPTS
from synthmill.pool.actors import Actor, Mapper, Ref, start
from synthmill.pool.crew import reason_of

Task = TypeVar("Task")


def map_on_actors(
    make: Callable[[Any], Callable[[Task], Any]],
    shared: Ref,
    tasks: Sequence[Task],
    *,
    actors: int,
    progress: Note,
    should_stop: Callable[[], bool],
) -> list[Any]:
    """As fan_out does it, with `actors` actors of one CPU each."""
    waiting, lost = deque(range(len(tasks))), Counter[int]()
    results: dict[int, Any] = {}
    busy: dict[Ref, tuple[Actor, int]] = {}
    idle: list[Actor] = []
    try:
        while len(results) < len(tasks):
            while waiting and len(busy) < actors:
                place = waiting.popleft()
                actor = idle.pop() if idle else start(Mapper, make, shared)
                busy[actor.do.remote(tasks[place])] = actor, place
            answered, _ = ray.wait(list(busy), timeout=POLL_S)
            if should_stop():
                raise interrupted()
            for ref in answered:
                actor, place = busy.pop(ref)
                try:
                    answer: Done[Any] | Failure = ray.get(ref)
                except RayError as death:
                    ray.kill(actor)
                    lost[place] += 1
                    if lost[place] < ATTEMPTS:
                        waiting.appendleft(place)
                        continue
                    answer = Failure(f"lost {ATTEMPTS} times: {reason_of(death)}", "", None)
                else:
                    idle.append(actor)
                results[place] = answer.result if isinstance(answer, Done) else answer
                progress("tasks", len(results), len(tasks))
    finally:
        for actor in (*idle, *(actor for actor, _ in busy.values())):
            ray.kill(actor)
    return [results[place] for place in range(len(tasks))]
