"""Sending while the run goes on: threads that do one task after the other, and a driver that waits for them where a stage ends.

A store that does not answer is asked again as long as the run goes on; patience is counted only while the driver waits. Any other
error is kept, nothing more is sent, and the driver is told at its next call.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable

from synthmill.errors import StorageError
from synthmill.store.bucket import PATIENCE_S

logger = logging.getLogger(__name__)

Task = Callable[[], None]

_THREADS = 3  # each may hold a file of 100 MB in memory
_MOST_WAITING = 10_000  # tasks are paths, not bytes
_POLL_S = 0.05
_LONG_S = 3.0


class Sender:
    """Give it tasks that raise StorageError where they fail; `again` is the patience that their bucket is to have."""

    def __init__(self, patience_s: float = PATIENCE_S) -> None:
        self._patience_s = patience_s
        self._tasks: queue.Queue[Task] = queue.Queue(_MOST_WAITING)
        self._threads: list[threading.Thread] = []
        self._waits_since: float | None = None  # the driver
        self._is_over = threading.Event()
        self._error: Exception | None = None

    @property
    def waiting(self) -> int:
        """Tasks that are not done."""
        return self._tasks.unfinished_tasks

    def send(self, task: Task, check: Callable[[], None]) -> None:
        """Have it done soon; waits only where the threads are thousands of tasks behind. Raises what an earlier task failed with."""
        self._raise()
        if self._tasks.full():
            self.drain(check)
        self._tasks.put(task)
        if len(self._threads) < _THREADS:
            thread = threading.Thread(target=self._work, name="synthmill-state", daemon=True)
            self._threads.append(thread)
            thread.start()

    def drain(self, check: Callable[[], None], say: Callable[[str], None] = lambda line: None) -> None:
        """Wait until all is sent; `check` is called meanwhile and may raise, and a long wait is said. Raises what a task failed with."""
        self._waits_since = started = time.monotonic()
        is_said = False
        try:
            while self.waiting and self._error is None:
                check()
                if not is_said and time.monotonic() - started > _LONG_S:
                    say(f"state: waiting for {self.waiting:,} finished things to be sent")
                    is_said = True
                time.sleep(_POLL_S)
        finally:
            self._waits_since = None
        self._raise()

    def close(self, grace_s: float) -> int:
        """Give what is left `grace_s` seconds, then no more; how many tasks were not done."""
        until = time.monotonic() + grace_s
        while self.waiting and self._error is None and time.monotonic() < until:
            time.sleep(_POLL_S)
        left = self.waiting
        self._is_over.set()
        return left

    def again(self, failed_s: float, pause_s: float) -> bool:
        """See bucket.Again."""
        since = self._waits_since
        waited_s = 0.0 if since is None else min(failed_s, time.monotonic() - since)
        if waited_s > self._patience_s:
            return False
        if failed_s < 1.0 <= failed_s + pause_s:
            logger.warning("the state does not answer; what is to be sent waits, and the run goes on")
        return not self._is_over.wait(pause_s)

    def _work(self) -> None:
        while True:
            task = self._tasks.get()
            try:
                if self._error is None and not self._is_over.is_set():
                    task()
            except Exception as error:  # kept for the driver, which raises it
                if not isinstance(error, StorageError):
                    logger.exception("sending to the state")
                self._error = self._error or error
            finally:
                self._tasks.task_done()

    def _raise(self) -> None:
        if self._error is not None:
            raise self._error
