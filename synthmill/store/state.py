"""Where everything lies in the state folder. Real rows, models, shards, candidates: all named by fingerprint, none released from here."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class State:
    """The state folder. Deleting it loses work, never a release."""

    root: Path

    def source(self, fingerprint: str) -> Path:
        """Folder of the split source: train.parquet, a.parquet, b.parquet."""
        return self.root / "sources" / fingerprint

    def model(self, fingerprint: str) -> Path:
        """Folder of a fitted model: files/ and receipt.json."""
        return self.root / "models" / fingerprint

    def checkpoint(self, fingerprint: str) -> Path:
        """The file from which the fit of a model goes on."""
        return self.root / "checkpoints" / f"{fingerprint}.safetensors"

    @property
    def secret(self) -> Path:
        """What the noise of private fits comes from, readable by its owner alone."""
        return self.root / "private.key"

    @property
    def shards(self) -> Path:
        """Folder of all staging folders."""
        return self.root / "shards"

    def staging(self, fingerprint: str) -> Path:
        """Folder of one stratum's shards and receipts under one set of filters."""
        return self.shards / fingerprint

    def candidate(self, plan: str) -> Path:
        """Folder of a plan's assembled dataset; complete when it holds manifest.json."""
        return self.root / "candidates" / plan

    @property
    def measurements(self) -> Path:
        """Folder of what evaluators measured, a file a trial."""
        return self.root / "measurements"

    @property
    def in_use(self) -> Path:
        """The lock file that every run shares, so that nothing expires while one may read it."""
        return self.lock("in-use")

    def lock(self, name: str) -> Path:
        """A lock file; always local."""
        return self.root / "locks" / f"{name}.lock"
