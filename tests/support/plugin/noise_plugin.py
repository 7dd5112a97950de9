"""`table/noise`: a generator as a third party would ship it, fast and deterministic, with faults on demand.

Every column is sampled on its own; given categories are kept. A fault strikes when a poisoned candidate is reached, or during the fit;
with a `marker` folder each strikes once, leaving a mark, so that a folder with all its marks makes the same rows without faults.
"""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path
from typing import Literal, Self

import numpy as np
import pyarrow as pa

from synthmill.columns import Schema
from synthmill.errors import StorageError
from synthmill.generator import (
    NO_CHECKPOINT,
    Checkpoint,
    FitProgress,
    FitReport,
    Generator,
    Sampled,
    SampleRequest,
    TrainData,
    sampling,
)
from synthmill.generator import Params as BaseParams
from synthmill.seeds import uniforms

Fault = Literal["raise", "kill", "hang", "exit", "ours"]


class Noise(Generator):
    family = "trees"
    modality = "table"
    version = 1
    micro_batch = 64

    class Params(BaseParams):
        fit_steps: int = 3
        fit_step_s: float = 0.0
        fit_fault: Fault | None = None
        load_fault: Fault | None = sampling(None)
        seconds: float = sampling(0.0)  # per batch
        poison: tuple[int, ...] = sampling(())  # candidates that strike
        fault: Fault = sampling("raise")
        sick: bool = sampling(False)  # the first process to make a batch fails at all of them
        skew: float = sampling(1.0)  # above 1 numbers are too small and labels too often the first
        marker: str = sampling("")
        fit_marker: str = ""

    params: Noise.Params

    def __init__(self, params: BaseParams) -> None:
        super().__init__(params)
        self._columns: list[dict[str, object]] = []

    @classmethod
    def exact_conditions(cls, source: Schema, params: BaseParams) -> frozenset[str]:
        return frozenset(column.name for column in source if column.dtype == "string")

    @classmethod
    def memory_bytes(cls, source: Schema, params: BaseParams) -> int:
        return 1 << 20

    def fit(
        self,
        data: TrainData,
        *,
        seed: int,
        device: str,
        progress: FitProgress,
        checkpoint: Checkpoint = NO_CHECKPOINT,
    ) -> FitReport:
        for step in range(self.params.fit_steps):
            if self.params.fit_step_s:
                time.sleep(self.params.fit_step_s)
            progress(step + 1, self.params.fit_steps, 1.0 / (step + 1))
        if self.params.fit_fault and _is_first(self.params.fit_marker, "fit"):
            _strike(self.params.fit_fault)
        for column in data.schema:
            values = sorted(set(data.table[column.name].drop_null().to_pylist()))
            values = values or [None]  # never seen
            ends = values if column.dtype == "string" else [values[0], values[-1]]
            self._columns.append({"name": column.name, "dtype": column.dtype, "values": ends})
        return FitReport(self.params.fit_steps, "steps")

    def sample(self, request: SampleRequest) -> Sampled:
        if self.params.seconds:
            time.sleep(self.params.seconds)
        for candidate in set(self.params.poison) & set(request.candidates.tolist()):
            if _is_first(self.params.marker, str(candidate)):
                _strike(self.params.fault)
        if self.params.sick and _is_sick(Path(self.params.marker) / "sick"):
            raise OSError("this process is sick")
        draws = uniforms(request.key, request.candidates, 0, len(self._columns)) ** self.params.skew
        arrays = {c["name"]: self._make(c, request, draws[:, j]) for j, c in enumerate(self._columns)}
        return Sampled(pa.table(arrays), request.candidates, usage={"draws": float(draws.size)})

    def _make(self, column: dict[str, object], request: SampleRequest, draws: np.ndarray) -> pa.Array:
        if column["name"] in request.given.column_names:
            return request.given[column["name"]].combine_chunks()
        values = column["values"]
        if column["dtype"] == "string":
            return pa.array([values[int(draw * len(values))] for draw in draws], pa.string())
        made = values[0] + draws * (values[1] - values[0])
        return pa.array(np.round(made).astype(np.int64)) if column["dtype"] == "int64" else pa.array(made)

    def save(self, folder: Path) -> None:
        (folder / "columns.json").write_text(json.dumps(self._columns))

    @classmethod
    def load(cls, folder: Path, params: BaseParams, *, device: str) -> Self:
        loaded = cls(params)
        if loaded.params.load_fault and _is_first(loaded.params.marker, "load"):
            _strike(loaded.params.load_fault)
        loaded._columns = json.loads((folder / "columns.json").read_text())
        return loaded


def _is_first(marker: str, name: str) -> bool:
    """Whether nobody was here before; without a marker folder, everybody is the first."""
    if not marker:
        return True
    try:
        (Path(marker) / name).touch(exist_ok=False)
    except FileExistsError:
        return False
    return True


def _is_sick(mark: Path) -> bool:
    try:
        with mark.open("x") as file:
            file.write(str(os.getpid()))
    except FileExistsError:
        return mark.read_text() == str(os.getpid())
    return True


def _strike(fault: Fault) -> None:
    if fault == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if fault == "hang":
        time.sleep(3600)
    if fault == "exit":
        os._exit(7)
    if fault == "ours":
        raise StorageError("the disk is full", where="noise", hint="free some space")
    raise OSError("poisoned")
