"""A conditional generative adversarial network that makes a row column by column.

Like CTGAN (Xu et al., "Modeling tabular data using conditional GAN", NeurIPS 2019) it is trained under conditions so that no label is
forgotten; but here a condition is any set of a real row's cells. The generator draws the next cell, and the critic compares what it
drew with the real cell, given the same others. The loss is the relativistic paired one of R3GAN with penalties on both sides (Huang
et al., "The GAN is dead; long live the GAN! A modern GAN baseline", NeurIPS 2024). Two departures. Cells are tokens: labels,
spikes, missing, and bins of the other numbers; since the critic rates all tokens of a column at once, the mean over what the
generator would draw is exact: no Gumbel-softmax, and next to no noise. And as tokens have probabilities, the fit stops by those of
validation rows, which a GAN does not have otherwise.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Self

import torch
from pydantic import Field
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional as F

from generators.nets.adversarial import ColumnScores, Noise, flat_from_tensors, flat_vocabularies, game, initialise
from generators.nets.autoregressive import random_ranks
from generators.nets.given import encode_given, keep_given
from generators.nets.table import TableGenerator
from generators.nets.tokens import RowTokens, Vocabulary, row_tokens, to_tensors
from generators.nets.training import NETWORK_FILE, Budget, Learner, follow, set_rate, split, train, warm_cosine
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

_BLUR = 1 / 64  # of the bins: standard deviation of the real tokens that both are shown, falling to zero
_PENALTY = 0.05
_EMA = 0.995  # of the generator's weights that are kept
_WARM_UP = 0.02  # share of the steps
_PATIENCE = 10  # checks without a better one
_BETAS = (0.0, 0.99)  # no momentum: the other player moves


class GAN(TableGenerator):
    """Mixed tables: any columns can be given exactly, ids are made anew."""

    family = "gan"
    version = 1

    class Params(contract.Params):
        """`width` is the dial of capacity, `steps` that of time."""

        steps: int | None = Field(None, ge=1, description="optimizer steps at most; by default from the rows of train")
        max_minutes: float | None = Field(
            None, gt=0, description="the fit ends by then; its bytes then follow the clock"
        )
        width: int = Field(128, ge=8, description="units of a hidden layer, of each column and player")
        bins: int = Field(64, ge=2, le=1024, description="of a column's numbers, at most")
        dropout: float = Field(0.5, ge=0, lt=1, description="share of units dropped in training, of both players")
        batch: int = Field(256, ge=1, description="rows of an optimizer step")
        learning_rate: float = Field(2e-3, gt=0)
        temperature: float = sampling(1.0, gt=0, le=2, description="below 1 the likely rows become likelier")

    params: GAN.Params
    _generator: ColumnScores

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
        steps = params.steps or _default_steps(train_rows)
        fit_s = min(0.0045 * len(source) * steps, 60 * (params.max_minutes or math.inf))
        return Cost(fit_s=fit_s, rows_per_s=3.5e5 / len(source))

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
        weights = torch.Generator().manual_seed(seeds.derive(seed, "weights"))
        generator, critic = (_player(words, self.params, weights).to(device) for _ in range(2))
        draw = torch.Generator(device).manual_seed(seeds.derive(seed, "draws"))
        learner = _Learner(generator, critic, rows, self.params, draw)
        self._generator = learner.average
        budget = Budget(self.params.steps or _default_steps(data.table.num_rows), self.params.max_minutes, _PATIENCE)
        return train(learner, budget, name=self.key(), progress=progress, checkpoint=checkpoint)

    @torch.inference_mode()
    def sample(self, request: SampleRequest) -> Sampled:
        """All candidates asked for; given cells come back as they were given."""
        device = next(self._generator.parameters()).device
        codes, values, seen = encode_given(self._codec, request)
        given = row_tokens(self._generator.words, codes, values).to(device)
        noise = Noise(tokens=self._uniforms(request, 0, device), within=self._uniforms(request, 1, device))
        with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
            codes, values = self._generator.sample(given, seen.to(device), noise, self.params.temperature)
        made = self._codec.decode(EncodedTable(codes, values), key=request.key, candidates=request.candidates)
        exact = self.exact_conditions(self._codec.schema, self.params)
        return Sampled(keep_given(made, request, exact), request.candidates)

    def _uniforms(self, request: SampleRequest, step: int, device: torch.device) -> Tensor:
        """Each step number of synthmill.seeds is drawn from once."""
        draws = seeds.uniforms(request.key, request.candidates, step, len(self._codec.parts))
        return torch.from_numpy(draws).to(device)

    def save(self, folder: Path) -> None:
        """The codec, `bins.safetensors` and the generator's weights; the critic has done its work."""
        self._codec.save(folder)
        save_file(to_tensors(self._generator.words), folder / "bins.safetensors")
        weights = {name: weight.contiguous().cpu() for name, weight in self._generator.state_dict().items()}
        save_file(weights, folder / NETWORK_FILE)

    @classmethod
    def load(cls, folder: Path, params: contract.Params, *, device: str) -> Self:
        """Read what `save` wrote."""
        assert isinstance(params, GAN.Params)
        model = cls(params)
        model._codec = TableCodec.load(folder)
        words = flat_from_tensors(model._codec.parts, load_file(folder / "bins.safetensors"))
        model._generator = ColumnScores(words, width=params.width, dropout=params.dropout)
        model._generator.load_state_dict(load_file(folder / NETWORK_FILE))
        model._generator.to(device)
        return model


def _player(words: Sequence[Vocabulary], params: GAN.Params, weights: torch.Generator) -> ColumnScores:
    player = ColumnScores(words, width=params.width, dropout=params.dropout)
    initialise(player, weights)
    return player


def _default_steps(rows: int) -> int:
    """At batches of 256 about 16 epochs, within bounds; small tables overfit before the end and stop by patience."""
    return min(10_000, max(600, rows // 16))


class _Learner(Learner):
    """AdamW for each player, with a warm-up and a cosine decay; the moving average of the generator's weights is kept."""

    def __init__(
        self, generator: ColumnScores, critic: ColumnScores, rows: RowTokens, params: GAN.Params, draw: torch.Generator
    ) -> None:
        self.generator, self.critic, self.average = generator, critic, copy.deepcopy(generator)
        self.params, self.draw = params, draw
        self.modules = {"generator": generator, "critic": critic, "kept": self.average}
        train_rows, held = split(len(rows), draw)
        self.train, self.held = rows.take(train_rows), rows.take(held)
        self.optimizers = tuple(
            torch.optim.AdamW(player.parameters(), betas=_BETAS, fused=True) for player in (generator, critic)
        )

    def step(self, number: int, done: float) -> Tensor:
        """One batch for both; returns the generator's loss, mean over the cells it would draw."""
        size = min(self.params.batch, len(self.train))
        device = self.train.first.device
        batch = self.train.take(torch.randint(len(self.train), (size,), generator=self.draw, device=device))
        ranks = random_ranks(self.generator.places, size, self.draw)
        with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
            logits = self.generator(batch, ranks, self.draw)
            heights = self.critic(batch, ranks, self.draw)
        games = [
            game(*scores, self._real(batch, j, _BLUR * (1 - done)), _PENALTY)
            for j, scores in enumerate(zip(logits, heights, strict=True))
        ]
        of_players = [
            (torch.stack(losses, 1) * (ranks >= 0)).sum() / (ranks >= 0).sum() for losses in zip(*games, strict=True)
        ]
        for optimizer in self.optimizers:
            set_rate(optimizer, self.params.learning_rate * warm_cosine(done, _WARM_UP))
            optimizer.zero_grad()
        torch.autograd.backward(of_players)  # neither loss reaches the other player's weights
        for player, optimizer in zip((self.generator, self.critic), self.optimizers, strict=True):
            nn.utils.clip_grad_norm_(player.parameters(), 1.0)
            optimizer.step()
        follow(self.average, self.generator, number, _EMA)
        return of_players[0].detach()

    def _real(self, batch: RowTokens, j: int, blur: float) -> Tensor:
        word, first = self.generator.words[j], batch.first[:, j]
        normals = torch.randn(len(first), generator=self.draw, device=first.device)
        return word.blurred(first, batch.fine[:, j], blur * normals)[0]

    def validate(self) -> float:
        """Nats a validation row that the generator's tokens have, with no column given."""
        losses = []
        for rows in torch.split(torch.arange(len(self.held), device=self.held.first.device), self.params.batch):
            batch = self.held.take(rows)
            logits = self.average(batch, self.average.places.expand(len(rows), -1))
            losses.append(sum(F.cross_entropy(x, batch.first[:, j], reduction="sum") for j, x in enumerate(logits)))
        return float(sum(losses)) / len(self.held)
