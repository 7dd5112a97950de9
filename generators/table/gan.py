"""A conditional generative adversarial network that makes a row column by column.

Like CTGAN (Xu et al., "Modeling tabular data using conditional GAN", NeurIPS 2019) it is trained under conditions so that no label is
forgotten; but here a condition is any set of a real row's cells. The generator draws the next cell, and the critic tells what it
drew from the real cell, given the same others. Cells are tokens: labels, spikes, missing, and bins of the other numbers. As the
critic rates all tokens of a column at once, means over what the generator would draw are exact: no Gumbel-softmax, and next to no
noise. The losses are Goodfellow's for the critic, with penalties on real and drawn cells (after R3GAN: Huang et al., "The GAN is
dead; long live the GAN! A modern GAN baseline", NeurIPS 2024), and for the generator that of MaliGAN (Che et al., "Maximum-likelihood
augmented discrete generative adversarial networks", 2017). The critic also corrects what is sampled (Azadi et al., "Discriminator
rejection sampling", ICLR 2019), which over tokens needs no rejection. And as tokens have probabilities, the fit stops by those of
validation rows.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping

import torch
from pydantic import Field
from torch import Tensor, nn

from generators.nets.adversarial import Noise, Players, flat_from_tensors, flat_vocabularies, game, initialise
from generators.nets.autoregressive import random_ranks
from generators.nets.learners import WARM_UP, bf16, follow, set_rate, split, start_from, warm_cosine
from generators.nets.redrawing import Draws
from generators.nets.table import NetworkGenerator, NetworkParams
from generators.nets.tokens import RowTokens, row_tokens, to_tensors
from generators.nets.training import Learner
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

_BLUR = 1 / 32  # of the bins: standard deviation of the real tokens that both are shown, falling to zero
_PENALTY = 0.05
_LEAD = 4.0  # the critic's learning rate to the generator's: it has to follow
_BETAS = (0.0, 0.99)  # no momentum: the other player moves


class GAN(NetworkGenerator):
    """Mixed tables: any columns can be given exactly, ids are made anew."""

    family = "gan"
    version = 2

    class Params(NetworkParams):
        """`width` is the dial of capacity, `steps` that of time."""

        width: int = Field(128, ge=8, description="units of a hidden layer, of each column and player")
        bins: int = Field(
            64, ge=2, le=1024, description="of a column's numbers; what many rows share has one of its own"
        )
        dropout: float = Field(0.5, ge=0, lt=1, description="share of units dropped in training, of both players")

    params: GAN.Params
    _network: Players

    @classmethod
    def memory_bytes(cls, source: Schema, params: contract.Params) -> int:
        """Torch itself, and weights and one micro-batch at 256 tokens a column."""
        assert isinstance(params, GAN.Params)
        of_column = 256 * 3 * params.width + 5 * params.width**2
        of_row = len(source) * (2 * params.width + 8) + 3 * 256
        return 400 * 2**20 + 4 * (len(source) * of_column + cls.micro_batch * of_row)

    @classmethod
    def cost(cls, source: Schema, train_rows: int, params: contract.Params) -> Cost:
        """As measured on Adult (15 columns) and Magic (11 columns, numbers) with the default networks."""
        assert isinstance(params, cls.Params)
        steps = params.steps or cls.default_steps(train_rows)
        fit_s = min(0.004 * len(source) * steps, 60 * (params.max_minutes or math.inf))
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
        """Generator and critic take their steps at the same time, on the same rows."""
        self._codec = TableCodec.fit(data.table, data.schema)
        encoded = self._codec.encode(data.table)
        words = flat_vocabularies(self._codec.parts, encoded.codes, encoded.values, self.params.bins)
        rows = row_tokens(words, encoded.codes, encoded.values).to(device)
        players = Players(words, width=self.params.width, dropout=self.params.dropout)
        initialise(players, torch.Generator().manual_seed(seeds.derive(seed, "weights")))
        start_from(players, data.before)
        draw = torch.Generator(device).manual_seed(seeds.derive(seed, "draws"))
        learner = _Learner(players.to(device), rows, self.params, draw)
        return self._train(learner, data, seed, progress, checkpoint)

    def _draw(self, draws: Draws, codes: Tensor, values: Tensor, seen: Tensor) -> tuple[Tensor, Tensor]:
        given = row_tokens(self._network.words, codes, values).to(seen.device)
        tokens, within = (draws.uniforms(step, seen.shape[1], seen.device) for step in range(2))
        noise = Noise(tokens=tokens, within=within)
        return self._network.sample(given, seen, noise, self.params.temperature, self._possible)

    def _bins(self) -> dict[str, Tensor]:
        return to_tensors(self._network.words)

    def _built(self, bins: Mapping[str, Tensor]) -> Players:
        words = flat_from_tensors(self._codec.parts, bins)
        return Players(words, width=self.params.width, dropout=self.params.dropout)


class _Learner(Learner):
    """AdamW for each player, with a warm-up and a cosine decay; the moving averages of their weights are kept."""

    def __init__(self, players: Players, rows: RowTokens, params: GAN.Params, draw: torch.Generator) -> None:
        self.players, self.average = players, copy.deepcopy(players)
        self.params, self.draw = params, draw
        self.modules = {"players": players, "kept": self.average}
        train_rows, held = split(len(rows), draw)
        self.train, self.held = rows.take(train_rows).packed(), rows.take(held)
        self.optimizers = tuple(
            torch.optim.AdamW(player.parameters(), betas=_BETAS, weight_decay=params.weight_decay, fused=True)
            for player in (players.generator, players.critic)
        )

    def step(self, number: int, done: float) -> Tensor:
        """One batch for both; returns the generator's loss, in nats a cell."""
        size, device = min(self.params.batch, len(self.train)), self.players.places.device
        batch = self.train.take(torch.randint(len(self.train), (size,), generator=self.draw, device=device))
        ranks = random_ranks(self.players.places, size, self.draw)
        with bf16(device):
            logits = self.players.generator(batch, ranks, self.draw)
            odds = self.players.critic(batch, ranks, self.draw)
        real = self._blurred(batch, _BLUR * (1 - done))
        games = [game(*scores, _PENALTY) for scores in zip(logits, odds, real, strict=True)]
        is_drawn = ranks >= 0
        cells = is_drawn.sum().clamp(min=1)
        losses = [(torch.stack(of_cells, 1) * is_drawn).sum() / cells for of_cells in zip(*games, strict=True)]
        rate = self.params.learning_rate * warm_cosine(done, WARM_UP)
        for optimizer, lead in zip(self.optimizers, (1.0, _LEAD), strict=True):
            set_rate(optimizer, lead * rate)
            optimizer.zero_grad()
        torch.autograd.backward(losses)  # neither reaches the other player's weights
        for player, optimizer in zip((self.players.generator, self.players.critic), self.optimizers, strict=True):
            nn.utils.clip_grad_norm_(player.parameters(), 1.0)
            optimizer.step()
        follow(self.average, self.players, number)
        return losses[0].detach()

    def _blurred(self, batch: RowTokens, blur: float) -> list[Tensor]:
        """The real tokens of each part, bins moved by a share of about `blur` of all bins."""
        normals = torch.randn(batch.first.shape, generator=self.draw, device=batch.first.device)
        return [
            word.blurred(batch.first[:, j], batch.fine[:, j], blur * normals[:, j])[0]
            for j, word in enumerate(self.players.words)
        ]

    def validate(self) -> float:
        """Nats a validation row, with no column given."""
        rows = torch.arange(len(self.held), device=self.players.places.device)
        nats = [self.average.nats(self.held.take(some)) for some in torch.split(rows, self.params.batch)]
        return torch.cat(nats).mean().item()
