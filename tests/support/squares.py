"""A task for engines to spread: squares, with one number that raises and two that kill their process."""

import os
import signal
from pathlib import Path


class Squares:
    """Made once a process. 13 raises, 99 kills its process, 100 the first process that meets it."""

    def __init__(self, folder):
        self._folder = Path(folder)
        self._made = 0

    def __call__(self, task):
        self._made += 1
        if task == 13:
            raise ValueError("unlucky")
        if task == 99 or (task == 100 and not (self._folder / "met").exists()):
            (self._folder / "met").touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return task * task, os.getpid(), self._made
