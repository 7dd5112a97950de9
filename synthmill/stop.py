"""SIGINT and SIGTERM as a flag that long work polls: the first asks for a clean stop, the second stops at once."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class StopFlag:
    """Set by a signal or by hand; calling it asks whether to stop."""

    def __init__(self) -> None:
        self.is_set = False

    def __call__(self) -> bool:
        """Whether to stop."""
        return self.is_set

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if self.is_set:
            raise KeyboardInterrupt
        self.is_set = True
        print("stopping; what is finished is kept (once more to stop at once)", file=sys.stderr, flush=True)  # noqa: T201

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Receive the signals for the block; for the main thread alone, as Python has it."""
        before = {number: signal.signal(number, self._on_signal) for number in _SIGNALS}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
