"""A diffusion of mixed rows: codes are unmasked, then normal scores are denoised, in at most 20 evaluations of a network.

Codes (labels, numbers that many rows share, missing) by masked diffusion (Austin et al., "Structured denoising diffusion models in
discrete state-spaces", NeurIPS 2021; Sahoo et al., "Simple and effective masked diffusion language models", NeurIPS 2024); the scores
of the other numbers by EDM (Karras et al., "Elucidating the design space of diffusion-based generative models", NeurIPS 2022). As in
TabDiff (Shi et al., ICLR 2025) both are one process in which columns have schedules of their own; here these are fixed at an extreme:
codes one column after the other, labels first, then the free numbers together. Columns that are given are seen without mask or
noise, in training a random set of them in half of the rows, so that any set can be given.
"""

from __future__ import annotations

import copy
import math
from pathlib import Path
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from generators.nets.denoiser import Rows, initialise
from generators.nets.given import encode_given, keep_given
from generators.nets.mixed_diffusion import MixedDiffusion, Noise
from generators.nets.table import TableGenerator
from generators.nets.training import (
    NETWORK_FILE,
    Budget,
    Learner,
    follow,
    set_rate,
    split,
    start_from,
    train,
    warm_cosine,
)
from synthmill import generator as contract
from synthmill import seeds
from synthmill.codecs.table import EncodedTable, TableCodec
from synthmill.columns import Schema
from synthmill.generator import (
    NO_CHECKPOINT,
    Checkpoint,
    Cost,
    FitProgress,
    FitReport,
    Sampled,
    SampleRequest,
    TrainData,
    sampling,
)

_EMA = 0.995  # of the weights that are kept
_WARM_UP = 0.02  # share of the steps
_PATIENCE = 10  # checks without a better one
_VALIDATION_SEED = 0
_VALIDATION_PASSES = 4  # over the validation rows, as a loss of one noise level a row is noisy


class Diffusion(TableGenerator):
    """Mixed tables: any columns can be given exactly, ids are made anew."""

    family = "diffusion"
    version = 1

    class Params(contract.Params):
        """`steps` and `width` are the dials of a fit, `evaluations` that of sampling."""

        steps: int | None = Field(None, ge=1, description="optimizer steps at most; by default from the rows of train")
        max_minutes: float | None = Field(
            None, gt=0, description="the fit ends by then; its bytes then follow the clock"
        )
        width: int = Field(256, ge=8, description="units of a hidden layer; half of it in the network of each code")
        depth: int = Field(3, ge=1, description="residual blocks that denoise numbers")
        dropout: float = Field(0.5, ge=0, lt=1, description="share of units dropped in training on codes")
        batch: int = Field(256, ge=1, description="rows of an optimizer step")
        learning_rate: float = Field(2e-3, gt=0)
        weight_decay: float = Field(0.01, ge=0)
        warm_start: bool = Field(False, description="go on from the last released model, in half the default steps")
        evaluations: int = sampling(20, ge=2, le=20, description="of a network, for each row; fewer are faster")
        temperature: float = sampling(1.0, gt=0, le=2, description="below 1 the likely rows become likelier")

    params: Diffusion.Params
    _network: MixedDiffusion

    @classmethod
    def memory_bytes(cls, source: Schema, params: contract.Params) -> int:
        """Torch itself, and weights and one micro-batch at 256 codes a column."""
        assert isinstance(params, Diffusion.Params)
        codes = 256 * len(source)
        weights = 3 * codes * params.width + (8 * params.depth + 4) * params.width**2
        of_row = codes + len(source) * (params.evaluations + 64) + 4 * params.width
        return 400 * 2**20 + 4 * (weights + cls.micro_batch * of_row)

    @classmethod
    def cost(cls, source: Schema, train_rows: int, params: contract.Params) -> Cost:
        """As measured on Adult (15 columns) and Magic (11 columns, numbers) with the default network."""
        assert isinstance(params, cls.Params)
        fit_s = (0.015 + 0.003 * len(source)) * (params.steps or _default_steps(train_rows))
        return Cost(min(fit_s, 60 * (params.max_minutes or math.inf)), rows_per_s=5e4 / params.evaluations)

    def fit(
        self,
        data: TrainData,
        *,
        seed: int,
        device: str,
        progress: FitProgress,
        checkpoint: Checkpoint = NO_CHECKPOINT,
    ) -> FitReport:
        """Minimise the nats of masked codes and the squared error of noisy scores."""
        self._codec = TableCodec.fit(data.table, data.schema)
        encoded = self._codec.encode(data.table)
        network = _network(self._codec, self.params)
        initialise(network, torch.Generator().manual_seed(seeds.derive(seed, "weights")))
        start_from(network, data.before)
        draw = torch.Generator(device).manual_seed(seeds.derive(seed, "draws"))
        nothing = torch.zeros_like(encoded.codes, dtype=torch.bool)
        rows = network.to(device).rows(encoded.codes, encoded.values, nothing)
        learner = _Learner(network, rows, self.params, draw)
        self._network = learner.average
        steps = self.params.steps or _default_steps(data.table.num_rows) // (1 if data.before is None else 2)
        budget = Budget(steps, self.params.max_minutes, _PATIENCE)
        return train(learner, budget, name=self.key(), progress=progress, checkpoint=checkpoint)

    @torch.inference_mode()
    def sample(self, request: SampleRequest) -> Sampled:
        """All candidates asked for; given cells come back as they were given."""
        network, params = self._network, self.params
        codes, values, seen = encode_given(self._codec, request)
        course = network.course(params.evaluations)
        device = network.places.device
        noise = self._noise(request, device)
        with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
            given = codes.to(device), values.to(device)
            codes, values = network.sample(given, seen.to(device), noise, course, params.temperature)
        made = self._codec.decode(EncodedTable(codes, values), key=request.key, candidates=request.candidates)
        exact = self.exact_conditions(self._codec.schema, params)
        return Sampled(keep_given(made, request, exact), request.candidates)

    def _noise(self, request: SampleRequest, device: torch.device) -> Noise:
        """Each step number of synthmill.seeds is drawn from once."""

        def tensor(draws: NDArray[np.float64]) -> Tensor:
            return torch.from_numpy(draws.astype(np.float32)).to(device)

        def normals(step: int) -> Tensor:
            return tensor(seeds.normals(request.key, request.candidates, step, len(self._network.numbers)))

        codes = tensor(seeds.uniforms(request.key, request.candidates, 0, len(self._codec.parts)))
        return Noise(codes, starts=normals(1), scores=normals(2))

    def save(self, folder: Path) -> None:
        """The codec and `network.safetensors`."""
        self._codec.save(folder)
        weights = {name: weight.contiguous().cpu() for name, weight in self._network.state_dict().items()}
        save_file(weights, folder / NETWORK_FILE)

    @classmethod
    def load(cls, folder: Path, params: contract.Params, *, device: str) -> Self:
        """Read what `save` wrote."""
        assert isinstance(params, Diffusion.Params)
        model = cls(params)
        model._codec = TableCodec.load(folder)
        model._network = _network(model._codec, params)
        model._network.load_state_dict(load_file(folder / NETWORK_FILE))
        model._network.to(device)
        return model


def _network(codec: TableCodec, params: Diffusion.Params) -> MixedDiffusion:
    return MixedDiffusion(codec.parts, width=params.width, depth=params.depth, dropout=params.dropout)


def _default_steps(rows: int) -> int:
    """At batches of 256 about 80 epochs and more where rows are few, up to some minutes; what overfits stops by patience."""
    return min(8_000, 1_500 + rows // 4)


class _Learner(Learner):
    """AdamW with a warm-up and a cosine decay; the moving average of the weights is kept."""

    def __init__(self, network: MixedDiffusion, rows: Rows, params: Diffusion.Params, draw: torch.Generator) -> None:
        self.network, self.average, self.params, self.draw = network, copy.deepcopy(network), params, draw
        self.modules = {"network": network, "kept": self.average}
        train, held = split(len(rows), draw)
        self.train, self.held = rows.take(train), rows.take(held)
        self.optimizer = torch.optim.AdamW(
            network.parameters(), betas=(0.9, 0.99), weight_decay=params.weight_decay, fused=True
        )
        self.optimizers = (self.optimizer,)

    def step(self, number: int, done: float) -> Tensor:
        """One batch; returns its loss."""
        size = min(self.params.batch, len(self.train))
        device = self.train.codes.device
        batch = self.train.take(torch.randint(len(self.train), (size,), generator=self.draw, device=device))
        set_rate(self.optimizer, self.params.learning_rate * warm_cosine(done, _WARM_UP))
        with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
            loss = self.network.loss(batch, self.draw, is_training=True)
        self.optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
        self.optimizer.step()
        follow(self.average, self.network, number, _EMA)
        return loss.detach()

    def validate(self) -> float:
        """The loss of validation rows, with the same masks and noise each time."""
        device = self.held.codes.device
        draw = torch.Generator(device).manual_seed(_VALIDATION_SEED)
        chunks = torch.split(torch.arange(len(self.held), device=device).repeat(_VALIDATION_PASSES), 2048)
        losses = [self.average.loss(self.held.take(rows), draw, is_training=False) * len(rows) for rows in chunks]
        return torch.stack(losses).sum().item() / (len(self.held) * _VALIDATION_PASSES)
