"""What the generators of mixed tables share: which tables they take, and what they keep as it was given."""

from __future__ import annotations

import copy
import itertools
import math
import time
from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import ClassVar, Self

import numpy as np
import pyarrow as pa
import torch
from pydantic import Field
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from generators.nets.given import encode_given, keep_given
from generators.nets.learners import NETWORK_FILE, PATIENCE, bf16, save_weights
from generators.nets.possible import EVERYTHING, Possible
from generators.nets.redrawing import Draws, Redrawing
from generators.nets.refiner import LEAST_ROWS, MOST_ROWS, Cells, Refiner
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

_BINS_FILE, _POSSIBLE_FILE = "bins.safetensors", "possible.safetensors"
_TELLING_ROWS = 200_000  # of train, by which it is known what is possible
_REFINING = 0.2  # of `max_minutes`


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
    """What the fits of all networks take, and how they are sampled. `steps` is the dial of time."""

    steps: int | None = Field(None, ge=1, description="optimizer steps at most; by default from the rows of train")
    max_minutes: float | None = Field(None, gt=0, description="the fit ends by then; its bytes then follow the clock")
    batch: int = Field(256, ge=1, description="rows of an optimizer step")
    learning_rate: float = Field(2e-3, gt=0)
    weight_decay: float = Field(0.01, ge=0)
    warm_start: bool = Field(False, description="go on from the last released model, in half the default steps")
    refine: bool = Field(
        True, description="also fit trees that tell train from proposals, by which rows are redrawn; from 1,000 rows on"
    )
    tries: int = sampling(8, ge=1, le=64, description="proposals for a row at most; 1 takes the first, which is faster")
    temperature: float = sampling(1.0, gt=0, le=2, description="below 1 the likely rows become likelier")


class NetworkGenerator(TableGenerator):
    """A TableGenerator with one network: what its file adds is the network, the learner and the noise."""

    Params: ClassVar[type[contract.Params]] = NetworkParams

    params: NetworkParams
    _network: nn.Module
    _possible: Possible = EVERYTHING
    _refiner: Refiner | None = None

    @classmethod
    def default_steps(cls, rows: int) -> int:
        """At batches of 256 about 16 epochs, within bounds; small tables overfit before the end and stop by patience."""
        return min(10_000, max(600, rows // 16))

    def _train(
        self, learner: Learner, data: TrainData, seed: int, progress: FitProgress, checkpoint: Checkpoint
    ) -> FitReport:
        """The learner's kept network becomes this generator's; what is possible is read off train, and trees are fitted to proposals."""
        self._network = learner.modules["kept"]
        self._possible = Possible.fit(
            self._codec.parts, self._codec.encode(_some(data.table, _TELLING_ROWS, seed)).codes
        )
        steps = self.params.steps or self.default_steps(data.table.num_rows) // (1 if data.before is None else 2)
        minutes = self.params.max_minutes
        if minutes is not None and self.params.refine:
            minutes *= 1 - _REFINING
        budget = Budget(steps, minutes, PATIENCE)
        report = train(learner, budget, name=self.key(), progress=progress, checkpoint=checkpoint)
        if self.params.refine and data.table.num_rows >= LEAST_ROWS:
            self._refine(data.table, seed, lambda: progress(report.steps, report.steps, report.losses[-1][1]))
        return report

    @torch.inference_mode()
    def _refine(self, table: pa.Table, seed: int, progress: Callable[[], None]) -> None:
        """A kill here costs little: the same trees grow again."""
        started = time.monotonic()
        left = 60 * _REFINING * (self.params.max_minutes or math.inf)

        def is_late(share: float) -> bool:
            progress()
            return time.monotonic() > started + share * left

        encoded = self._codec.encode(_some(table, MOST_ROWS, seed))
        self._refiner = Refiner.fit(
            self._codec.parts,
            (encoded.codes, encoded.values),
            self._proposals(seeds.derive(seed, "proposals"), lambda: is_late(0.3)),
            seed=seeds.derive(seed, "refiner") % 2**31,
            on_round=lambda: is_late(0.7),
        )

    def _proposals(self, key: int, is_late: Callable[[], bool]) -> Iterator[Cells]:
        """Rows as sampling makes them by default: a model does not depend on what only sampling reads."""
        defaults = {name: type(self.params).model_fields[name].default for name in self.params.sampling_only()}
        proposer = copy.copy(self)
        proposer.params = self.params.model_copy(update=defaults)
        device = next(self._network.parameters()).device
        shape = (self.micro_batch, len(self._codec.parts))
        codes, values = torch.zeros(shape, dtype=torch.int64), torch.zeros(shape)
        seen = torch.zeros(shape, dtype=torch.bool, device=device)
        for first in itertools.count(0, self.micro_batch):
            if is_late():
                return
            with bf16(device):
                draws = Draws.first(key, np.arange(first, first + self.micro_batch))
                made = proposer._draw(draws, codes, values, seen)
            yield self._settled(made)

    @torch.inference_mode()
    def sample(self, request: SampleRequest) -> Sampled:
        """All candidates asked for; given cells come back as they were given."""
        device = next(self._network.parameters()).device
        codes, values, seen = encode_given(self._codec, request)
        draws, given = Draws.first(request.key, request.candidates), (codes, values)
        with bf16(device):
            made = self._draw(draws, *given, seen.to(device))
            if self._refiner is not None and self.params.tries > 1:
                redrawing = Redrawing(self._refiner, self._draw, self._settled, draws, given, seen)
                made = redrawing.run(made, self.params.tries)
        table = self._codec.decode(EncodedTable(*made), key=request.key, candidates=request.candidates)
        exact = self.exact_conditions(self._codec.schema, self.params)
        return Sampled(keep_given(table, request, exact), request.candidates)

    def _settled(self, cells: Cells) -> Cells:
        """On the grids of their columns, as train's cells are: else trees would tell proposals by what decoding mends."""
        codes, values = (part.cpu() for part in cells)
        return codes, self._codec.settle(codes, values)

    @abstractmethod
    def _draw(self, draws: Draws, codes: Tensor, values: Tensor, seen: Tensor) -> Cells:
        """Codes and values of all cells, given those that are `seen`, (rows, parts) each; only `seen` is on the device."""

    def save(self, folder: Path) -> None:
        """The codec, the bins of numbers where the network has some, the network's weights, and the trees."""
        self._codec.save(folder)
        if bins := self._bins():
            save_file(bins, folder / _BINS_FILE)
        save_weights(self._network, folder)
        if possible := self._possible.to_tensors():
            save_file(possible, folder / _POSSIBLE_FILE)
        if self._refiner is not None:
            self._refiner.save(folder)

    def _bins(self) -> dict[str, Tensor]:
        """What the network has to know of train's numbers beside the codec."""
        return {}

    @classmethod
    def load(cls, folder: Path, params: contract.Params, *, device: str) -> Self:
        """Read what `save` wrote."""
        model = cls(params)
        model._codec = TableCodec.load(folder)
        bins, possible = (
            load_file(path) if path.exists() else {} for path in (folder / _BINS_FILE, folder / _POSSIBLE_FILE)
        )
        model._network = model._built(bins)
        model._possible = Possible.from_tensors(model._codec.parts, possible)
        model._network.load_state_dict(load_file(folder / NETWORK_FILE))
        model._network.to(device)
        model._refiner = Refiner.load(folder, model._codec.parts)
        return model

    @abstractmethod
    def _built(self, bins: Mapping[str, Tensor]) -> nn.Module:
        """The network for the codec and what `_bins` gave, whatever its weights."""


def _some(table: pa.Table, most: int, seed: int) -> pa.Table:
    """At most so many rows, by chance."""
    if table.num_rows <= most:
        return table
    return table.take(pa.array(np.sort(np.random.default_rng(seed).permutation(table.num_rows)[:most])))
