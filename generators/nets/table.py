"""What the generators of mixed tables share: which tables they take, and what they keep as it was given."""

from __future__ import annotations

import copy
import itertools
import math
import time
from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Self

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from pydantic import Field
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from generators.nets.given import encode_given, keep_given
from generators.nets.learners import NETWORK_FILE, PATIENCE, bf16, save_weights
from generators.nets.possible import EVERYTHING, Possible
from generators.nets.refiner import LEAST_ROWS, MOST_ROWS, Cells, Refiner, only
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
_CHUNK = 512  # proposals that are drawn together after the first ones
_STEPS, _TAKING = 32, 31  # steps of an attempt's noise, and the one that says whether it is taken


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


@dataclass(frozen=True, slots=True)
class Draws:
    """The noise of proposals: of some candidates under a key, each at one of its attempts. A step is drawn from once, and below 32."""

    key: int
    candidates: NDArray[np.int64]
    attempts: NDArray[np.int64]

    @classmethod
    def first(cls, key: int, candidates: NDArray[np.int64]) -> Self:
        """Of first attempts."""
        return cls(key, candidates, np.zeros_like(candidates))

    def again(self, rows: NDArray[np.int64], attempts: NDArray[np.int64]) -> Draws:
        """Of other attempts of some of the rows."""
        return Draws(self.key, self.candidates[rows], attempts)

    def uniforms(self, step: int, size: int, device: torch.device) -> Tensor:
        """(candidates, size), float64, in the open interval (0, 1)."""
        steps = _STEPS * self.attempts + step
        return torch.from_numpy(seeds.uniforms(self.key, self.candidates, steps, size)).to(device)

    def normals(self, step: int, size: int, device: torch.device) -> Tensor:
        """(candidates, size), float32."""
        steps = _STEPS * self.attempts + step
        return torch.from_numpy(seeds.normals(self.key, self.candidates, steps, size)).to(device, torch.float32)


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
            yield self._settled(*made)

    @torch.inference_mode()
    def sample(self, request: SampleRequest) -> Sampled:
        """All candidates asked for; given cells come back as they were given."""
        device = next(self._network.parameters()).device
        codes, values, seen = encode_given(self._codec, request)
        draws, given = Draws.first(request.key, request.candidates), (codes, values)
        with bf16(device):
            made = self._draw(draws, *given, seen.to(device))
            if self._refiner is not None:
                made = self._redrawn(self._refiner, draws, given, seen, made)
        table = self._codec.decode(EncodedTable(*made), key=request.key, candidates=request.candidates)
        exact = self.exact_conditions(self._codec.schema, self.params)
        return Sampled(keep_given(table, request, exact), request.candidates)

    def _redrawn(self, refiner: Refiner, draws: Draws, given: Cells, seen: Tensor, made: Cells) -> Cells:
        """`made`, with each row that is not taken replaced by the first proposal that is, or by the last of `tries`.

        Where few rows wait, several attempts of each are proposed at once; which one is taken does not depend on that.
        """
        codes, values = (cells.cpu() for cells in made)
        everyone = np.arange(len(codes))
        waiting = everyone[~self._takes(refiner, draws, everyone, given, seen, (codes, values))]
        attempt = 1
        while len(waiting) and attempt < self.params.tries:
            ahead = min(self.params.tries - attempt, max(1, _CHUNK // len(waiting)))
            rows, attempts = np.repeat(waiting, ahead), np.tile(np.arange(attempt, attempt + ahead), len(waiting))
            proposed = self._proposed(draws, rows, attempts, given, seen, made[0].device)
            taken = self._takes(refiner, draws.again(rows, attempts), rows, given, seen, proposed)
            attempt += ahead
            by_row = taken.reshape(-1, ahead)
            by_row[:, -1] |= attempt == self.params.tries
            is_done, first = by_row.any(1), by_row.argmax(1)
            chosen = torch.from_numpy((np.arange(len(waiting)) * ahead + first)[is_done])
            done = torch.from_numpy(waiting[is_done])
            codes[done], values[done] = only(proposed, chosen)
            waiting = waiting[~is_done]
        return codes, values

    def _takes(
        self, refiner: Refiner, draws: Draws, rows: NDArray[np.int64], given: Cells, seen: Tensor, proposed: Cells
    ) -> NDArray[np.bool_]:
        """Whether each proposal, for the row of the request that `rows` names, is taken."""
        places = torch.from_numpy(rows)
        codes, values = (torch.where(seen[places], old[places], new) for old, new in zip(given, proposed, strict=True))
        return refiner.takes(self._settled(codes, values), draws.uniforms(_TAKING, 1, codes.device)[:, 0].numpy())

    def _settled(self, codes: Tensor, values: Tensor) -> Cells:
        """Cells on the grids of their columns, as train's are: else trees would tell proposals by what decoding mends."""
        return codes.cpu(), self._codec.settle(codes.cpu(), values.cpu())

    def _proposed(
        self,
        draws: Draws,
        rows: NDArray[np.int64],
        attempts: NDArray[np.int64],
        given: Cells,
        seen: Tensor,
        device: torch.device,
    ) -> Cells:
        """Proposals in pieces of one size, the last one filled up: a proposal's bits do not depend on how many others there are."""
        count = len(rows)
        padded = np.arange(-(-count // _CHUNK) * _CHUNK) % count
        pieces = []
        for piece in np.split(padded, len(padded) // _CHUNK):
            places = torch.from_numpy(rows[piece])
            new = self._draw(draws.again(rows[piece], attempts[piece]), *only(given, places), seen[places].to(device))
            pieces.append((new[0].cpu(), new[1].cpu()))
        codes, values = (torch.cat(cells)[:count] for cells in zip(*pieces, strict=True))
        return codes, values

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
