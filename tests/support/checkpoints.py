"""A checkpoint in memory, and the exception that a test kills a fit with."""


class Killed(Exception):
    """In place of a SIGKILL."""


class Memory:
    """A Checkpoint that is written at every report."""

    every_s = 0.0

    def __init__(self, data=None):
        self.data = data

    def read(self):
        """What was written last."""
        return self.data

    def write(self, data):
        """Replace it."""
        self.data = data
