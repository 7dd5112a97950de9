"""A variational autoencoder with arbitrary conditioning, for mixed tables.

A row has one latent, from a flow given the cells that are given: p(z | given). Its decoder makes column after column, each given the
latent, the given cells and the columns before. The decoder and the flow as prior are the lossy autoencoder's (Chen et al., "Variational
lossy autoencoder", ICLR 2017): the latent holds what the columns share and the decoder the rest, so that what is drawn from the prior is
what the decoder was trained on. Random sets of given cells in training let any set be given (Ivanov, Figurnov and Vetrov, "Variational
autoencoder with arbitrary conditioning", ICLR 2019). Numbers are bins of even quantiles and spikes codes of their own, as in table/llm,
whose network the decoder is (generators/nets/autoregressive.py).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from pydantic import Field
from torch import Tensor

from generators.nets.autoregressive import Uniforms, random_ranks
from generators.nets.learners import AveragedLearner, bf16, split, start_from
from generators.nets.redrawing import Draws
from generators.nets.table import NetworkGenerator, NetworkParams
from generators.nets.tokens import (
    RowTokens,
    Vocabulary,
    from_tensors,
    read_tokens,
    row_tokens,
    to_tensors,
)
from generators.nets.vaeac import Noise, Vaeac, initialised
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
)

_BLUR = 1 / 64  # of the ranks, half a coarse bin: standard deviation of the bins to be predicted, falling to zero
_FREE = 2.0  # nats a row that the latent may hold unpunished, falling to zero, lest the decoder learns to do without it


class VAE(NetworkGenerator):
    """Mixed tables: any columns can be given exactly, ids are made anew."""

    family = "vae"
    version = 4

    class Params(NetworkParams):
        """`width` is the dial of capacity, `steps` that of time."""

        width: int = Field(128, ge=8, description="units of a hidden layer, of each column")
        depth: int = Field(1, ge=1, description="residual blocks of each column")
        latent: int = Field(8, ge=2, description="dimensions of the latent space")
        dropout: float = Field(0.5, ge=0, lt=1, description="share of the decoder's units dropped in training")

    params: VAE.Params
    _network: Vaeac

    @classmethod
    def memory_bytes(cls, source: Schema, params: contract.Params) -> int:
        """Torch itself, and weights and one micro-batch at 256 tokens a column."""
        assert isinstance(params, VAE.Params)
        of_column = 256 * 5 * params.width + (3 + 2 * params.depth) * params.width**2
        of_row = len(source) * (2 * params.width + 8) + 3 * 256
        weights = len(source) * of_column + 14 * params.width**2
        return 400 * 2**20 + 4 * (weights + cls.micro_batch * of_row)

    @classmethod
    def cost(cls, source: Schema, train_rows: int, params: contract.Params) -> Cost:
        """As measured on Adult (15 columns) and Magic (11 columns, numbers) with the default network."""
        assert isinstance(params, cls.Params)
        steps = params.steps or cls.default_steps(train_rows)
        fit_s = min(0.0045 * len(source) * steps, 60 * (params.max_minutes or math.inf))
        return Cost(fit_s=fit_s, rows_per_s=1.2e5 / len(source))

    def fit(
        self,
        data: TrainData,
        *,
        seed: int,
        device: str,
        progress: FitProgress,
        checkpoint: Checkpoint = NO_CHECKPOINT,
    ) -> FitReport:
        """Maximise the evidence lower bound of the columns after a random set of given ones."""
        self._codec = TableCodec.fit(data.table, data.schema)
        words, rows = read_tokens(self._codec, data.table)
        network = _network(words, self.params, seeds.derive(seed, "weights"))
        start_from(network, data.before)
        draw = torch.Generator(device).manual_seed(seeds.derive(seed, "draws"))
        learner = _Learner(network.to(device), rows.to(device), self.params, draw)
        return self._train(learner, data, seed, progress, checkpoint)

    def _draw(self, draws: Draws, codes: Tensor, values: Tensor, seen: Tensor) -> tuple[Tensor, Tensor]:
        given = row_tokens(self._network.decoder.words, codes, values).to(seen.device)
        uniforms = Uniforms(*(draws.uniforms(step, seen.shape[1], seen.device) for step in range(3)))
        noise = Noise(uniforms, draws.normals(3, self.params.latent, seen.device))
        return self._network.sample(given, seen, noise, possible=self._possible, temperature=self.params.temperature)

    def _bins(self) -> dict[str, Tensor]:
        return to_tensors(self._network.decoder.words)

    def _built(self, bins: Mapping[str, Tensor]) -> Vaeac:
        return _network(from_tensors(self._codec.parts, bins), self.params, seed=0)


def _network(words: Sequence[Vocabulary], params: VAE.Params, seed: int) -> Vaeac:
    return initialised(
        words, seed, width=params.width, depth=params.depth, latent=params.latent, dropout=params.dropout
    )


class _Learner(AveragedLearner[Vaeac]):
    def __init__(self, network: Vaeac, rows: RowTokens, params: VAE.Params, draw: torch.Generator) -> None:
        super().__init__(network, draw, learning_rate=params.learning_rate, weight_decay=params.weight_decay)
        self.batch = params.batch
        train, held = split(len(rows), draw)
        self.train, self.held = rows.take(train), rows.take(held)

    def loss(self, done: float) -> Tensor:
        """Nats a column."""
        batch = self.train.take(self.choose(len(self.train), self.batch))
        ranks = random_ranks(self.network.places, len(batch), self.draw)
        with bf16(self.draw.device):
            logs, divergence = self.network.bound(batch, ranks, self.draw, blur=_BLUR * (1 - done))
        hidden = ranks >= 0
        held = divergence.mean().clamp_min(_FREE * (1 - done))
        return (len(batch) * held - (logs * hidden).sum()) / hidden.sum().clamp(min=1)

    def validate(self) -> float:
        """Nats a validation row, with no column given: the bound at the same draws of latents each time."""
        places, draw = self.average.places, torch.Generator(self.draw.device).manual_seed(0)
        bounds = []
        for rows in torch.split(torch.arange(len(self.held), device=places.device), self.batch):
            ranks = places.expand(len(rows), -1)
            logs, divergence = self.average.bound(self.held.take(rows), ranks, draw, trains=False)
            bounds.append(divergence - logs.sum(1))
        return torch.cat(bounds).mean().item()
