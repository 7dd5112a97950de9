"""A column-autoregressive network over value tokens: any columns can be given, exactly and without rejection.

A column is drawn given those before it, as one token (a label, a number that many rows share, missing, or a coarse bin of the other
numbers) and then a fine bin (generators/nets/tokens.py). Tokens of numbers get their logits from a mixture of a few peaks on the line,
and logits of their own beside it (generators/nets/mixture.py). In half of the training rows a random set of columns comes first, so
that any set can be given. The family: Uria, Murray and Larochelle, "A deep and tractable density estimator" (ICML 2014); for tables
REaLTabFormer (Solatorio and Dupriez, 2023) and TabularARGN (Tiwald et al., 2025). Departures: each column has a small network of its
own on the sum of what it sees, in place of attention; columns that are not given keep their order, as an order that sampling never
takes costs capacity; and bins to be predicted are blurred a little in training, which tells the network that neighbours are alike.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from pydantic import Field
from torch import Tensor

from generators.nets.autoregressive import Autoregressive, Uniforms, initialise, random_ranks
from generators.nets.learners import AveragedLearner, bf16, split, start_from
from generators.nets.private_table import PRIVATE_STEPS, Spending, fit_privately
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
    Promise,
    TrainData,
    sampling,
)

_BLUR = 1 / 64  # of the ranks, half a coarse bin: standard deviation of the bins to be predicted, falling to zero


class LLM(NetworkGenerator):
    """Mixed tables: any columns can be given exactly, ids are made anew."""

    family = "llm"
    version = 4

    class Params(NetworkParams):
        """`width` is the dial of capacity, `steps` that of time."""

        width: int | None = Field(
            None, ge=8, description="units of a hidden layer, of each column; by default 128, with epsilon 32"
        )
        depth: int = Field(1, ge=1, description="residual blocks of each column")
        dropout: float = Field(0.5, ge=0, lt=1, description="share of units dropped in training")
        epsilon: float | None = Field(
            None, gt=0, description="differential privacy: how far any one row of train can change what is likely"
        )
        delta: float = Field(1e-6, gt=0, lt=1, description="with epsilon: well below one over the rows of train")
        max_grad_norm: float = Field(1.0, gt=0, description="with epsilon: the bound of each row's gradient")
        top_p: float = sampling(1.0, gt=0, le=1, description="keep the likeliest tokens that hold this share together")

        @property
        def units(self) -> int:
            """The width; noise is in every weight, so that fewer of them learn more under it."""
            return self.width or (128 if self.epsilon is None else 32)

    params: LLM.Params
    _network: Autoregressive

    @classmethod
    def promise(cls, params: contract.Params) -> Promise | None:
        """With `params.epsilon`."""
        assert isinstance(params, LLM.Params)
        return None if params.epsilon is None else Promise(params.epsilon, params.delta)

    @classmethod
    def memory_bytes(cls, source: Schema, params: contract.Params) -> int:
        """Torch itself, and weights and one micro-batch at 256 tokens a column."""
        assert isinstance(params, LLM.Params)
        of_column = 256 * 3 * params.units + (3 + 2 * params.depth) * params.units**2
        of_row = len(source) * (2 * params.units + 8) + 3 * 256
        return 400 * 2**20 + 4 * (len(source) * of_column + cls.micro_batch * of_row)

    @classmethod
    def cost(cls, source: Schema, train_rows: int, params: contract.Params) -> Cost:
        """As measured on Adult (15 columns), Shoppers (18) and Magic (11, numbers) with the default network."""
        assert isinstance(params, cls.Params)
        steps, of_step = params.steps or cls.default_steps(train_rows), 0.004
        if params.epsilon is not None:
            steps, of_step = params.steps or PRIVATE_STEPS, 0.004
        fit_s = min(of_step * len(source) * steps, 60 * (params.max_minutes or math.inf))
        return Cost(fit_s=fit_s, rows_per_s=1.1e5 / len(source))

    def fit(
        self,
        data: TrainData,
        *,
        seed: int,
        device: str,
        progress: FitProgress,
        checkpoint: Checkpoint = NO_CHECKPOINT,
    ) -> FitReport:
        """Maximise the likelihood of the columns after a random set of given ones."""
        if self.promise(self.params) is not None:
            return self._fit_privately(data, device, progress, checkpoint)
        self._codec = TableCodec.fit(data.table, data.schema)
        words, rows = read_tokens(self._codec, data.table)
        network = _network(words, self.params)
        initialise(network, torch.Generator().manual_seed(seeds.derive(seed, "weights")))
        start_from(network, data.before)
        draw = torch.Generator(device).manual_seed(seeds.derive(seed, "draws"))
        learner = _Learner(network.to(device), rows.to(device), self.params, draw)
        return self._train(learner, data, seed, progress, checkpoint)

    def _fit_privately(self, data: TrainData, device: str, progress: FitProgress, checkpoint: Checkpoint) -> FitReport:
        """The same network under differential privacy; `batch`, `learning_rate` and `dropout` are for fits without."""
        params, promise = self.params, self.promise(self.params)
        assert promise is not None
        spending = Spending(promise, params.max_grad_norm, params.steps)
        self._codec, self._network, report = fit_privately(
            data,
            spending,
            lambda words: _network(words, params),
            device=device,
            progress=progress,
            checkpoint=checkpoint,
        )
        return report

    def _draw(self, draws: Draws, codes: Tensor, values: Tensor, seen: Tensor) -> tuple[Tensor, Tensor]:
        given = row_tokens(self._network.words, codes, values).to(seen.device)
        noise = Uniforms(*(draws.uniforms(step, seen.shape[1], seen.device) for step in range(3)))
        params = self.params
        return self._network.sample(
            given, seen, noise, possible=self._possible, temperature=params.temperature, top_p=params.top_p
        )

    def _bins(self) -> dict[str, Tensor]:
        return to_tensors(self._network.words)

    def _built(self, bins: Mapping[str, Tensor]) -> Autoregressive:
        return _network(from_tensors(self._codec.parts, bins), self.params)


def _network(words: Sequence[Vocabulary], params: LLM.Params) -> Autoregressive:
    return Autoregressive(words, width=params.units, depth=params.depth, dropout=params.dropout)


class _Learner(AveragedLearner[Autoregressive]):
    def __init__(self, network: Autoregressive, rows: RowTokens, params: LLM.Params, draw: torch.Generator) -> None:
        super().__init__(network, draw, learning_rate=params.learning_rate, weight_decay=params.weight_decay)
        self.batch = params.batch
        self.rows = rows
        self.train, held = split(len(rows), draw)
        self.held = rows.take(held)

    def loss(self, done: float) -> Tensor:
        """Nats a column."""
        batch = self.rows.take(self.train[self.choose(len(self.train), self.batch)])
        ranks = random_ranks(self.network.places, len(batch), self.draw)
        with bf16(self.draw.device):
            logs = self.network.log_prob(batch, ranks, draw=self.draw, blur=_BLUR * (1 - done))
        is_made = ranks >= 0
        return -(logs * is_made).sum() / is_made.sum().clamp(min=1)

    def validate(self) -> float:
        """Nats a validation row, with no column given."""
        places = self.average.places
        logs = [
            self.average.log_prob(self.held.take(rows), places.expand(len(rows), -1))
            for rows in torch.split(torch.arange(len(self.held), device=places.device), self.batch)
        ]
        return -torch.cat(logs).sum(1).mean().item()
