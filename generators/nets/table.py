"""What the generators of mixed tables share: which tables they take, and what they keep as it was given."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar, Self

import torch
from pydantic import Field
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from generators.nets.given import encode_given, keep_given
from generators.nets.learners import NETWORK_FILE, PATIENCE, bf16, save_weights
from generators.nets.training import Budget, Learner, train
from synthmill import generator as contract
from synthmill import seeds
from synthmill.codecs.table import EncodedTable, TableCodec
from synthmill.columns import Schema
from synthmill.errors import RecipeError
from synthmill.generator import (
    Checkpoint,
    FitProgress,
    FitReport,
    Generator,
    Sampled,
    SampleRequest,
    TrainData,
    sampling,
)

_BINS_FILE = "bins.safetensors"


class TableGenerator(Generator):
    """Mixed tables through TableCodec: any columns can be given exactly, ids are made anew."""

    modality = "table"
    codec = TableCodec
    micro_batch = 1024

    _codec: TableCodec

    @classmethod
    def key(cls) -> str:
        """`table/NAME`, by the file's name."""
        return f"table/{cls.__module__.rpartition('.')[2]}"

    @classmethod
    def schema(cls, source: Schema, params: contract.Params) -> Schema:
        """Any table with a column that is no id; text and images are refused."""
        if all(column.kind == "id" for column in source):
            raise RecipeError(f"{cls.key()} has nothing to learn: all columns are ids", where="source.columns")
        for column in source:
            if column.kind in ("text", "image"):
                raise RecipeError(
                    f"{cls.key()} cannot make the column {column.name!r} of kind {column.kind}",
                    where=f"source.columns.{column.name}",
                    hint="override its kind, or leave the column out of the source",
                )
        return source

    @classmethod
    def exact_conditions(cls, source: Schema, params: contract.Params) -> frozenset[str]:
        """Every column but ids."""
        return frozenset(column.name for column in source if column.kind != "id")


class NetworkParams(contract.Params):
    """What the fits of all networks take, and `temperature`. `steps` is the dial of time."""

    steps: int | None = Field(None, ge=1, description="optimizer steps at most; by default from the rows of train")
    max_minutes: float | None = Field(None, gt=0, description="the fit ends by then; its bytes then follow the clock")
    batch: int = Field(256, ge=1, description="rows of an optimizer step")
    learning_rate: float = Field(2e-3, gt=0)
    temperature: float = sampling(1.0, gt=0, le=2, description="below 1 the likely rows become likelier")


class WarmParams(NetworkParams):
    """The same, for networks that a saved one can start."""

    weight_decay: float = Field(0.01, ge=0)
    warm_start: bool = Field(False, description="go on from the last released model, in half the default steps")


class NetworkGenerator(TableGenerator):
    """A TableGenerator with one network: what its file adds is the network, the learner and the noise."""

    Params: ClassVar[type[contract.Params]] = NetworkParams

    params: NetworkParams
    _network: nn.Module

    @classmethod
    def default_steps(cls, rows: int) -> int:
        """At batches of 256 about 16 epochs, within bounds; small tables overfit before the end and stop by patience."""
        return min(10_000, max(600, rows // 16))

    def _train(self, learner: Learner, data: TrainData, progress: FitProgress, checkpoint: Checkpoint) -> FitReport:
        """The learner's kept network becomes this generator's."""
        self._network = learner.modules["kept"]
        steps = self.params.steps or self.default_steps(data.table.num_rows) // (1 if data.before is None else 2)
        budget = Budget(steps, self.params.max_minutes, PATIENCE)
        return train(learner, budget, name=self.key(), progress=progress, checkpoint=checkpoint)

    @torch.inference_mode()
    def sample(self, request: SampleRequest) -> Sampled:
        """All candidates asked for; given cells come back as they were given."""
        device = next(self._network.parameters()).device
        codes, values, seen = encode_given(self._codec, request)
        with bf16(device):
            codes, values = self._draw(request, codes, values, seen.to(device))
        made = self._codec.decode(EncodedTable(codes, values), key=request.key, candidates=request.candidates)
        exact = self.exact_conditions(self._codec.schema, self.params)
        return Sampled(keep_given(made, request, exact), request.candidates)

    @abstractmethod
    def _draw(self, request: SampleRequest, codes: Tensor, values: Tensor, seen: Tensor) -> tuple[Tensor, Tensor]:
        """Codes and values of all cells, (rows, parts) each, given those that are `seen`; only `seen` is on the device."""

    def _uniforms(self, request: SampleRequest, step: int, device: torch.device) -> Tensor:
        """(rows, parts), float64. Each step number of synthmill.seeds is drawn from once."""
        draws = seeds.uniforms(request.key, request.candidates, step, len(self._codec.parts))
        return torch.from_numpy(draws).to(device)

    def save(self, folder: Path) -> None:
        """The codec, the bins of numbers where the network has some, and the network's weights."""
        self._codec.save(folder)
        if bins := self._bins():
            save_file(bins, folder / _BINS_FILE)
        save_weights(self._network, folder)

    def _bins(self) -> dict[str, Tensor]:
        """What the network has to know of train's numbers beside the codec."""
        return {}

    @classmethod
    def load(cls, folder: Path, params: contract.Params, *, device: str) -> Self:
        """Read what `save` wrote."""
        model = cls(params)
        model._codec = TableCodec.load(folder)
        path = folder / _BINS_FILE
        model._network = model._built(load_file(path) if path.exists() else {})
        model._network.load_state_dict(load_file(folder / NETWORK_FILE))
        model._network.to(device)
        return model

    @abstractmethod
    def _built(self, bins: Mapping[str, Tensor]) -> nn.Module:
        """The network for the codec and what `_bins` gave, whatever its weights."""
