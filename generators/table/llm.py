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

import copy
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from generators.nets.autoregressive import Autoregressive, Uniforms, initialise, random_ranks
from generators.nets.given import encode_given, keep_given
from generators.nets.private_table import PRIVATE_STEPS, Spending, fit_privately
from generators.nets.table import TableGenerator
from generators.nets.tokens import RowTokens, Vocabulary, from_tensors, row_tokens, to_tensors, vocabularies
from generators.nets.training import Budget, Learner, follow, set_rate, split, start_from, train, warm_cosine
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
    Promise,
    Sampled,
    SampleRequest,
    TrainData,
    sampling,
)

_BLUR = 1 / 64  # of the ranks, half a coarse bin: standard deviation of the bins to be predicted, falling to zero
_EMA = 0.995  # of the weights that are kept
_WARM_UP = 0.02  # share of the steps
_PATIENCE = 10  # checks without a better one


class LLM(TableGenerator):
    """Mixed tables: any columns can be given exactly, ids are made anew."""

    family = "llm"
    version = 3

    class Params(contract.Params):
        """`width` is the dial of capacity, `steps` that of time."""

        steps: int | None = Field(None, ge=1, description="optimizer steps at most; by default from the rows of train")
        max_minutes: float | None = Field(
            None, gt=0, description="the fit ends by then; its bytes then follow the clock"
        )
        width: int | None = Field(
            None, ge=8, description="units of a hidden layer, of each column; by default 128, with epsilon 32"
        )
        depth: int = Field(1, ge=1, description="residual blocks of each column")
        dropout: float = Field(0.5, ge=0, lt=1, description="share of units dropped in training")
        batch: int = Field(256, ge=1, description="rows of an optimizer step")
        learning_rate: float = Field(2e-3, gt=0)
        weight_decay: float = Field(0.01, ge=0)
        warm_start: bool = Field(False, description="go on from the last released model, in half the default steps")
        epsilon: float | None = Field(
            None, gt=0, description="differential privacy: how far any one row of train can change what is likely"
        )
        delta: float = Field(1e-6, gt=0, lt=1, description="with epsilon: well below one over the rows of train")
        max_grad_norm: float = Field(1.0, gt=0, description="with epsilon: the bound of each row's gradient")
        temperature: float = sampling(1.0, gt=0, le=2, description="below 1 the likely rows become likelier")
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
        steps, of_step = params.steps or _default_steps(train_rows), 0.004
        if params.epsilon is not None:
            steps, of_step = params.steps or PRIVATE_STEPS, 0.004
        fit_s = min(of_step * len(source) * steps, 60 * (params.max_minutes or math.inf))
        return Cost(fit_s=fit_s, rows_per_s=1.8e5 / len(source))

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
        words, rows = _read(self._codec, data)
        network = _network(words, self.params)
        initialise(network, torch.Generator().manual_seed(seeds.derive(seed, "weights")))
        start_from(network, data.before)
        draw = torch.Generator(device).manual_seed(seeds.derive(seed, "draws"))
        learner = _Learner(network.to(device), rows.to(device), self.params, draw)
        self._network = learner.average
        steps = self.params.steps or _default_steps(data.table.num_rows) // (1 if data.before is None else 2)
        budget = Budget(steps, self.params.max_minutes, _PATIENCE)
        return train(learner, budget, name="table/llm", progress=progress, checkpoint=checkpoint)

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

    @torch.inference_mode()
    def sample(self, request: SampleRequest) -> Sampled:
        """All candidates asked for; given cells come back as they were given."""
        device = next(self._network.parameters()).device
        codes, values, seen = encode_given(self._codec, request)
        given = row_tokens(self._network.words, codes, values).to(device)
        noise, params = self._noise(request, device), self.params
        with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
            codes, values = self._network.sample(
                given, seen.to(device), noise, temperature=params.temperature, top_p=params.top_p
            )
        made = self._codec.decode(EncodedTable(codes, values), key=request.key, candidates=request.candidates)
        exact = self.exact_conditions(self._codec.schema, params)
        return Sampled(keep_given(made, request, exact), request.candidates)

    def _noise(self, request: SampleRequest, device: torch.device) -> Uniforms:
        """Each step number of synthmill.seeds is drawn from once."""

        def uniforms(step: int) -> Tensor:
            draws: NDArray[np.float64] = seeds.uniforms(request.key, request.candidates, step, len(self._codec.parts))
            return torch.from_numpy(draws).to(device)

        return Uniforms(first=uniforms(0), fine=uniforms(1), within=uniforms(2))

    def save(self, folder: Path) -> None:
        """The codec, `bins.safetensors` and `network.safetensors`."""
        self._codec.save(folder)
        save_file(to_tensors(self._network.words), folder / "bins.safetensors")
        weights = {name: weight.contiguous().cpu() for name, weight in self._network.state_dict().items()}
        save_file(weights, folder / "network.safetensors")

    @classmethod
    def load(cls, folder: Path, params: contract.Params, *, device: str) -> Self:
        """Read what `save` wrote."""
        assert isinstance(params, LLM.Params)
        model = cls(params)
        model._codec = TableCodec.load(folder)
        words = from_tensors(model._codec.parts, load_file(folder / "bins.safetensors"))
        model._network = _network(words, params)
        model._network.load_state_dict(load_file(folder / "network.safetensors"))
        model._network.to(device)
        return model


def _read(codec: TableCodec, data: TrainData) -> tuple[tuple[Vocabulary, ...], RowTokens]:
    """Train's vocabularies and rows. What the codec gave, several times as large, is forgotten here."""
    encoded = codec.encode(data.table)
    words = vocabularies(codec.parts, encoded.codes, encoded.values)
    return words, row_tokens(words, encoded.codes, encoded.values).packed()


def _network(words: Sequence[Vocabulary], params: LLM.Params) -> Autoregressive:
    return Autoregressive(words, width=params.units, depth=params.depth, dropout=params.dropout)


def _default_steps(rows: int) -> int:
    """At batches of 256 about 16 epochs, within bounds; small tables overfit before the end and stop by patience."""
    return min(10_000, max(600, rows // 16))


class _Learner(Learner):
    """AdamW with a warm-up and a cosine decay; the moving average of the weights is kept."""

    def __init__(self, network: Autoregressive, rows: RowTokens, params: LLM.Params, draw: torch.Generator) -> None:
        self.network, self.average, self.params, self.draw = network, copy.deepcopy(network), params, draw
        self.modules = {"network": network, "kept": self.average}
        self.rows = rows
        self.train, held = split(len(rows), draw)
        self.held = rows.take(held)
        self.optimizer = torch.optim.AdamW(
            network.parameters(), betas=(0.9, 0.99), weight_decay=params.weight_decay, fused=True
        )
        self.optimizers = (self.optimizer,)

    def step(self, number: int, done: float) -> Tensor:
        """One batch; returns its loss, in nats a column."""
        size = min(self.params.batch, len(self.train))
        chosen = torch.randint(len(self.train), (size,), generator=self.draw, device=self.train.device)
        batch = self.rows.take(self.train[chosen])
        ranks = random_ranks(self.network.places, len(batch), self.draw)
        set_rate(self.optimizer, self.params.learning_rate * warm_cosine(done, _WARM_UP))
        with torch.autocast(batch.first.device.type, torch.bfloat16, enabled=batch.first.is_cuda):
            logs = self.network.log_prob(batch, ranks, draw=self.draw, blur=_BLUR * (1 - done))
        is_made = ranks >= 0
        loss = -(logs * is_made).sum() / is_made.sum().clamp(min=1)
        self.optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
        self.optimizer.step()
        follow(self.average, self.network, number, _EMA)
        return loss.detach()

    def validate(self) -> float:
        """Nats a validation row, with no column given."""
        places = self.average.places
        logs = [
            self.average.log_prob(self.held.take(rows), places.expand(len(rows), -1))
            for rows in torch.split(torch.arange(len(self.held), device=places.device), self.params.batch)
        ]
        return -torch.cat(logs).sum(1).mean().item()
