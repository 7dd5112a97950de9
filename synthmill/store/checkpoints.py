"""Checkpoints of fits in state: one file a model, replaced whole, gone once the model is there."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from synthmill.store.files import publish_bytes


@dataclass(frozen=True, slots=True)
class FileCheckpoint:
    """A Checkpoint at `path`, which is named by the model's fingerprint.

    Where the folder is not there, as on a machine that does not share the state folder, nothing is kept.
    """

    path: Path

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
