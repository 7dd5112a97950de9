"""A diffusion of mixed rows: codes are unmasked, then normal scores are denoised, in at most 20 evaluations of a network.

Codes (labels, numbers that many rows share, missing) by masked diffusion (Austin et al., "Structured denoising diffusion models in
discrete state-spaces", NeurIPS 2021; Sahoo et al., "Simple and effective masked diffusion language models", NeurIPS 2024); the scores
of the other numbers by EDM (Karras et al., "Elucidating the design space of diffusion-based generative models", NeurIPS 2022). As in
TabDiff (Shi et al., ICLR 2025) both are one process in which columns have schedules of their own; here these are fixed at an extreme:
codes one column after the other, labels first, then the free numbers together. Columns that are given are seen without mask or
noise, in training a random set of them in half of the rows, so that any set can be given.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from pydantic import Field
from torch import Tensor

from generators.nets.denoiser import Rows, initialise
from generators.nets.learners import AveragedLearner, bf16, split, start_from
from generators.nets.mixed_diffusion import MixedDiffusion, Noise
from generators.nets.redrawing import Draws
from generators.nets.table import NetworkGenerator, NetworkParams
from synthmill import generator as contract
from synthmill import seeds
from synthmill.codecs.table import TableCodec
from synthmill.columns import Schema
from synthmill.generator import (
    NO_CHECKPOINT,
    Checkpoint,
    Cost,
    FitProgress,
    FitReport,
    TrainData,
    sampling,
)

_VALIDATION_SEED = 0
_VALIDATION_PASSES = 4  # over the validation rows, as a loss of one noise level a row is noisy


class Diffusion(NetworkGenerator):
    """Mixed tables: any columns can be given exactly, ids are made anew."""

    family = "diffusion"
    version = 2

    class Params(NetworkParams):
        """`steps` and `width` are the dials of a fit, `evaluations` that of sampling."""

        refine: bool = Field(
            False,
            description="redraw rows by trees that tell train from proposals; each proposal takes its evaluations",
        )
        width: int = Field(256, ge=8, description="units of a hidden layer; half of it in the network of each code")
        depth: int = Field(3, ge=1, description="residual blocks that denoise numbers")
        dropout: float = Field(0.5, ge=0, lt=1, description="share of units dropped in training on codes")
        evaluations: int = sampling(20, ge=2, le=20, description="of a network, for each row; fewer are faster")

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
    def default_steps(cls, rows: int) -> int:
        """At batches of 256 about 80 epochs and more where rows are few, up to some minutes; what overfits stops by patience."""
        return min(8_000, 1_500 + rows // 4)

    @classmethod
    def cost(cls, source: Schema, train_rows: int, params: contract.Params) -> Cost:
        """As measured on Adult (15 columns) and Magic (11 columns, numbers) with the default network."""
        assert isinstance(params, cls.Params)
        fit_s = (0.015 + 0.003 * len(source)) * (params.steps or cls.default_steps(train_rows))
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
        return self._train(learner, data, seed, progress, checkpoint)

    def _draw(self, draws: Draws, codes: Tensor, values: Tensor, seen: Tensor) -> tuple[Tensor, Tensor]:
        course, noise = self._network.course(self.params.evaluations), self._noise(draws, seen.device)
        given = codes.to(seen.device), values.to(seen.device)
        return self._network.sample(given, seen, noise, course, self.params.temperature, self._possible)

    def _noise(self, draws: Draws, device: torch.device) -> Noise:
        numbers = len(self._network.numbers)
        starts, scores = (draws.normals(step, numbers, device) for step in (1, 2))
        return Noise(draws.uniforms(0, len(self._codec.parts), device).float(), starts=starts, scores=scores)

    def _built(self, bins: Mapping[str, Tensor]) -> MixedDiffusion:
        return _network(self._codec, self.params)


def _network(codec: TableCodec, params: Diffusion.Params) -> MixedDiffusion:
    return MixedDiffusion(codec.parts, width=params.width, depth=params.depth, dropout=params.dropout)


class _Learner(AveragedLearner[MixedDiffusion]):
    def __init__(self, network: MixedDiffusion, rows: Rows, params: Diffusion.Params, draw: torch.Generator) -> None:
        super().__init__(network, draw, learning_rate=params.learning_rate, weight_decay=params.weight_decay)
        self.batch = params.batch
        train, held = split(len(rows), draw)
        self.train, self.held = rows.take(train), rows.take(held)

    def loss(self, done: float) -> Tensor:
        """Nats of masked codes and squared errors of noisy scores."""
        batch = self.train.take(self.choose(len(self.train), self.batch))
        with bf16(self.draw.device):
            return self.network.loss(batch, self.draw, is_training=True)

    def validate(self) -> float:
        """The loss of validation rows, with the same masks and noise each time."""
        device = self.held.codes.device
        draw = torch.Generator(device).manual_seed(_VALIDATION_SEED)
        chunks = torch.split(torch.arange(len(self.held), device=device).repeat(_VALIDATION_PASSES), 2048)
        losses = [self.average.loss(self.held.take(rows), draw, is_training=False) * len(rows) for rows in chunks]
        return torch.stack(losses).sum().item() / (len(self.held) * _VALIDATION_PASSES)
