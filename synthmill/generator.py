"""The Generator contract: one sampler, whatever its family and modality.

A generator is one file, `generators/MODALITY/NAME.py`, with one subclass of Generator and its `Params`; its key is `MODALITY/NAME`.
Fits and samples run in processes of their own, on `threads` threads, so that the core count never changes a byte.
"""

from __future__ import annotations

import json
import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal, Protocol, Self

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, JsonValue

from synthmill.codecs.base import Codec
from synthmill.columns import Modality, Schema

Family = Literal["gan", "vae", "diffusion", "llm", "rnn", "trees"]


class Params(BaseModel):
    """A generator's parameters: frozen, typed, unknown keys are errors. Mark what only sampling reads with `sampling()`."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    @classmethod
    def parse(cls, plain: Mapping[str, JsonValue]) -> Self:
        """Check plain JSON values strictly; raises pydantic's ValidationError."""
        return cls.model_validate_json(json.dumps(plain))  # JSON has no tuples, so a list is one

    @classmethod
    def sampling_only(cls) -> frozenset[str]:
        """The fields that a fit does not read, so that changing them does not train anew."""
        marked = (name for name, info in cls.model_fields.items() if _is_sampling(info.json_schema_extra))
        return frozenset(marked)


def _is_sampling(extra: object) -> bool:
    return isinstance(extra, dict) and bool(extra.get("sampling_only"))


def sampling(default: Any, **constraints: Any) -> Any:
    """A Params field that only sampling reads: `temperature: float = sampling(1.0, gt=0)`."""
    return Field(default, json_schema_extra={"sampling_only": True}, **constraints)


class FitProgress(Protocol):
    """Called every few steps of a fit; raises Interrupted when the run is to stop."""

    def __call__(self, step: int, steps: int, loss: float) -> None:
        """`step` of `steps` are done; `loss` is the mean training loss since the last call."""


class Checkpoint(Protocol):
    """Where a fit keeps what it needs to go on after a kill. It belongs to one model fingerprint."""

    @property
    def every_s(self) -> float:
        """Seconds of a fit between two writes: about what a kill may cost."""

    def read(self) -> bytes | None:
        """What was written last, whole; None at a start."""

    def write(self, data: bytes) -> None:
        """Replace what was written before."""


class NoCheckpoint:
    """A Checkpoint that keeps nothing."""

    every_s = math.inf

    def read(self) -> None:
        """Nothing."""

    def write(self, data: bytes) -> None:
        """Nowhere."""


@dataclass(frozen=True, slots=True)
class TrainData:
    """What a fit may see: the train rows and their schema. The holdout is not here, so it cannot leak.

    `before` is the folder of a saved model to go on from, where the generator has a param `warm_start`, it is asked for, and there is one.
    `secret` is there for params that promise privacy: a function of train and of what state alone knows, from which their noise comes.
    """

    table: pa.Table
    schema: Schema
    before: Path | None = None
    secret: bytes | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Promise:
    """Differential privacy for single rows: two trains that differ by one row, which one of them lacks, give nearly the same model."""

    epsilon: float
    delta: float


class Privacy(BaseModel):
    """A promise of differential privacy as it was kept.

    `noise_multipliers` has the standard deviation of the noise of each release, in units of its sensitivity.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    epsilon: float
    delta: float
    mechanism: str
    accountant: str
    noise_multipliers: dict[str, float]
    sample_rate: float
    steps: int


@dataclass(frozen=True, slots=True)
class FitReport:
    """What a fit did: optimizer steps, why it stopped, (step, training loss) now and then, and what it spent of an epsilon."""

    steps: int
    stopped_by: Literal["steps", "patience", "time"]
    losses: tuple[tuple[int, float], ...] = ()
    privacy: Privacy | None = None


@dataclass(frozen=True, slots=True)
class SampleRequest:
    """One micro-batch of candidates to make, always the same ones for the same first index.

    `given` has one row per candidate and a column per condition; a cell counts where `mask` (rows, given columns) is true.
    All noise comes from `synthmill.seeds` under `key` and the candidate's number, so a row does not depend on its neighbours.
    """

    candidates: NDArray[np.int64]  # (rows,), rows = the generator's micro-batch
    key: int
    given: pa.Table
    mask: NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Sampled:
    """The answer: `table` under the generator's schema, row j being candidate `candidates[j]`; the rest are in `rejects`."""

    table: pa.Table
    candidates: NDArray[np.int64]
    rejects: Mapping[int, str] = field(default_factory=dict)  # candidate -> reason
    usage: Mapping[str, float] = field(default_factory=dict)  # e.g. tokens


NO_CHECKPOINT = NoCheckpoint()
AnyParams = Params  # inside the class below, `Params` is the generator's own


@dataclass(frozen=True, slots=True)
class Cost:
    """A guess of what a fit and sampling take on one CPU core, for `--dry-run` until receipts of this machine know better."""

    fit_s: float
    rows_per_s: float


class Generator(ABC):
    """One sampler. Constructing it does no work; `fit` or `load` makes it able to sample."""

    family: ClassVar[Family]
    modality: ClassVar[Modality]
    version: ClassVar[int]  # raise it whenever the bytes change
    codec: ClassVar[type[Codec[Any]] | None] = None  # its version is part of the model's fingerprint
    trains: ClassVar[bool] = True
    threads: ClassVar[int] = 1  # part of the bytes, so a constant
    micro_batch: ClassVar[int] = 256  # candidates in one forward; part of the bytes

    Params: ClassVar[type[AnyParams]] = Params  # replaced by each generator's own

    def __init__(self, params: AnyParams) -> None:
        self.params = params

    @classmethod
    def schema(cls, source: Schema, params: AnyParams) -> Schema:
        """The schema of what will be made, known before any fit; raises RecipeError for a source it cannot take."""
        return source

    @classmethod
    @abstractmethod
    def exact_conditions(cls, source: Schema, params: AnyParams) -> frozenset[str]:
        """Columns whose given values are kept in every row made; others are met by rejection."""

    @classmethod
    @abstractmethod
    def memory_bytes(cls, source: Schema, params: AnyParams) -> int:
        """A bound for the memory that one loaded sampler needs, in bytes."""

    @classmethod
    def cost(cls, source: Schema, train_rows: int, params: AnyParams) -> Cost | None:
        """What it roughly costs, where that is known."""
        return None

    @classmethod
    def promise(cls, params: AnyParams) -> Promise | None:
        """What a fit under these params promises the rows of train; None where it promises nothing."""
        return None

    @abstractmethod
    def fit(
        self,
        data: TrainData,
        *,
        seed: int,
        device: str,
        progress: FitProgress,
        checkpoint: Checkpoint = NO_CHECKPOINT,
    ) -> FitReport:
        """Train on `data`, going on from `checkpoint`; the same data, seed and versions give the same weights on a CPU.

        Raises FitError when it diverges.
        """

    @abstractmethod
    def sample(self, request: SampleRequest) -> Sampled:
        """Make the candidates asked for. Given cells of exact columns come back unchanged."""

    @abstractmethod
    def save(self, folder: Path) -> None:
        """Write safetensors and JSON into an existing empty folder; the same model gives the same bytes."""

    @classmethod
    @abstractmethod
    def load(cls, folder: Path, params: AnyParams, *, device: str) -> Self:
        """Read what `save` wrote; samples are the same as before, bit for bit."""
