"""Every error that Synthmill raises on purpose, and the exit code that each becomes.

    SynthmillError                  1  the run failed
    |-- InputError                  2  bad input or usage: the person can mend it
    |   |-- RecipeError                the recipe: file, line, key
    |   |-- SourceError                the real data: file, line, column
    |   `-- WorkspaceError             the git + DVC repository around it
    |-- RunError                    1  the machine, or somebody else's, let us down
    |   |-- BusyError                  another run holds the lock
    |   |-- FitError                   a model did not train
    |   |-- ShardError                 shards failed on several actors
    |   |-- AcceptanceError            too few candidates were accepted
    |   |-- StorageError               a full disk, a broken or missing file of ours
    |   `-- ReleaseError               a step of the release: git, DVC, the remote
    |       `-- SupersededError           somebody else's release came first; judge the candidate again
    |-- GateMissed                  3  a gate blocked the release; the candidate stays in state
    `-- Interrupted               130  SIGINT, SIGTERM or a cancel; run again to resume

A message says what was wrong, the value seen in the recipe (never a cell of the data), where, and the next step.
"""

from __future__ import annotations

from typing import ClassVar


class SynthmillError(Exception):
    """The root: `what` went wrong, `where` (file:line, key), and the next step as `hint`."""

    exit_code: ClassVar[int] = 1

    def __init__(self, what: str, *, where: str = "", hint: str = "") -> None:
        super().__init__(what)
        self.what, self.where, self.hint = what, where, hint

    def __str__(self) -> str:
        place = f"{self.where}: " if self.where else ""
        step = f"\n  {self.hint}" if self.hint else ""
        return f"{place}{self.what}{step}"

    def __reduce__(self) -> tuple[object, ...]:
        # Keyword arguments do not survive the default pickling, and errors cross process borders.
        return _rebuild, (type(self), self.what, self.where, self.hint)


def _rebuild(kind: type[SynthmillError], what: str, where: str, hint: str) -> SynthmillError:
    return kind(what, where=where, hint=hint)


class InputError(SynthmillError):
    """Something that a person gave us is wrong; nothing was started."""

    exit_code = 2


class RecipeError(InputError):
    """The recipe cannot be read, or asks for something that does not exist."""


class SourceError(InputError):
    """The real data is missing, broken, or not what the recipe says."""


class WorkspaceError(InputError):
    """The folder is no workspace, or its git or DVC state stands in the way."""


class RunError(SynthmillError):
    """The input was fine and the run failed all the same."""


class BusyError(RunError):
    """Another run works on the same plan or releases from the same workspace."""


class FitError(RunError):
    """A model did not train: the loss became NaN, or the process died too often."""


class ShardError(RunError):
    """More candidates were lost to failures than `accept.max_failed` allows."""


class AcceptanceError(RunError):
    """`accept.candidates_per_row` was reached before enough rows were accepted."""


class StorageError(RunError):
    """The disk is full, or a file of ours is missing or does not match its hash."""


class ReleaseError(RunError):
    """git, DVC or the remote refused a step of the release; the next run goes on from it."""


class SupersededError(ReleaseError):
    """Another release of the dataset came since the candidate was held against the one before it."""


class GateMissed(SynthmillError):
    """At least one gate was missed or undetermined, so nothing was placed or released."""

    exit_code = 3


class Interrupted(SynthmillError):
    """The run was asked to stop; what is finished is kept and the next run goes on from it."""

    exit_code = 130
