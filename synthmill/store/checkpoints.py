"""Checkpoints of fits in state: one file a model, replaced whole, gone once the model is there."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Self

from safetensors import safe_open

from synthmill.store.files import publish_bytes


@dataclass(frozen=True, slots=True)
class FileCheckpoint:
    """A Checkpoint at `path`, which is named by the model's fingerprint.

    Where the folder is not there, as on a machine that does not share the state folder, nothing is kept.
    """

    path: Path
    every_s: float

    def opened(self) -> Self:
        """This one, with its folder."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        return self

    @property
    def step(self) -> int:
        """The step that a fit goes on from: 0 where it starts anew, or the checkpoint does not say."""
        if not self.path.exists():
            return 0
        with safe_open(self.path, framework="numpy") as file:
            return int((file.metadata() or {}).get("step", 0))

    def read(self) -> bytes | None:
        """What was written last."""
        try:
            return self.path.read_bytes()
        except FileNotFoundError:
            return None

    def write(self, data: bytes) -> None:
        """Replace what was written before. Raises StorageError."""
        if self.path.parent.is_dir():
            publish_bytes(self.path, data)

    def drop(self) -> None:
        """The model is there."""
        self.path.unlink(missing_ok=True)
