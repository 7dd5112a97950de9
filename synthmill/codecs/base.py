"""The Codec contract: Arrow rows <-> tensors for the trained generators of one modality. Fitted on train alone."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import ClassVar, Generic, Self, TypeVar

import pyarrow as pa

from synthmill.columns import Schema

Encoded = TypeVar("Encoded")


class Codec(ABC, Generic[Encoded]):
    """`decode(encode(table))` is the table again: exactly, floats to 1e-6 of their range."""

    version: ClassVar[int]  # raise it whenever the encoding changes; part of every model fingerprint

    @classmethod
    @abstractmethod
    def fit(cls, table: pa.Table, schema: Schema) -> Self:
        """Learn categories, ranges and the pattern of missing values from train rows."""

    @abstractmethod
    def encode(self, table: pa.Table) -> Encoded:
        """Arrow rows to tensors."""

    @abstractmethod
    def decode(self, encoded: Encoded) -> pa.Table:
        """Tensors to Arrow rows under the schema that the codec was fitted with."""

    @abstractmethod
    def save(self, folder: Path) -> None:
        """Write JSON and safetensors under `folder`."""

    @classmethod
    @abstractmethod
    def load(cls, folder: Path) -> Self:
        """Read what `save` wrote."""
