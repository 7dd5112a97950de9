"""A variational autoencoder with arbitrary conditioning, for mixed tables.

A row has one latent, from a flow given the cells that are given: p(z | given). Its decoder makes column after column, each given the
latent, the given cells and the columns before. The decoder and the flow as prior are the lossy autoencoder's (Chen et al., "Variational
lossy autoencoder", ICLR 2017): the latent holds what the columns share and the decoder the rest, so that what is drawn from the prior is
what the decoder was trained on. Random sets of given cells in training let any set be given (Ivanov, Figurnov and Vetrov, "Variational
autoencoder with arbitrary conditioning", ICLR 2019). Numbers are bins of even quantiles and spikes codes of their own, as in table/llm,
whose network the decoder is (generators/nets/autoregressive.py).
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

from generators.nets.autoregressive import Uniforms, random_ranks
from generators.nets.given import encode_given, keep_given
from generators.nets.table import TableGenerator
from generators.nets.tokens import RowTokens, Vocabulary, from_tensors, row_tokens, to_tensors, vocabularies
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
from generators.nets.vaeac import Noise, Vaeac, initialised
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

_BLUR = 1 / 64  # of the ranks, half a coarse bin: standard deviation of the bins to be predicted, falling to zero
_FREE = 2.0  # nats a row that the latent may hold unpunished, falling to zero, lest the decoder learns to do without it
_EMA = 0.995  # of the weights that are kept
_WARM_UP = 0.02  # share of the fit until the learning rate is whole
_PATIENCE = 10  # checks without a better one
_BINS_FILE = "bins.safetensors"


class VAE(TableGenerator):
    """Mixed tables: any columns can be given exactly, ids are made anew."""

    family = "vae"
    version = 3

    class Params(contract.Params):
        """`width` is the dial of capacity, `steps` that of time."""

        steps: int | None = Field(None, ge=1, description="optimizer steps at most; by default from the rows of train")
        max_minutes: float | None = Field(
            None, gt=0, description="the fit ends by then; its bytes then follow the clock"
        )
        width: int = Field(128, ge=8, description="units of a hidden layer, of each column")
        depth: int = Field(1, ge=1, description="residual blocks of each column")
        latent: int = Field(8, ge=2, description="dimensions of the latent space")
        dropout: float = Field(0.5, ge=0, lt=1, description="share of the decoder's units dropped in training")
        batch: int = Field(256, ge=1, description="rows of an optimizer step")
        learning_rate: float = Field(2e-3, gt=0)
        weight_decay: float = Field(0.01, ge=0)
        warm_start: bool = Field(False, description="go on from the last released model, in half the default steps")
        temperature: float = sampling(1.0, gt=0, le=2, description="below 1 the likely rows become likelier")

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
        steps = params.steps or _default_steps(train_rows)
        fit_s = min(0.0045 * len(source) * steps, 60 * (params.max_minutes or math.inf))
        return Cost(fit_s=fit_s, rows_per_s=2.0e5 / len(source))

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
        words, rows = _read(self._codec, data)
        network = _network(words, self.params, seeds.derive(seed, "weights"))
        start_from(network, data.before)
        draw = torch.Generator(device).manual_seed(seeds.derive(seed, "draws"))
        learner = _Learner(network.to(device), rows.to(device), self.params, draw)
        self._network = learner.average
        steps = self.params.steps or _default_steps(data.table.num_rows) // (1 if data.before is None else 2)
        budget = Budget(steps, self.params.max_minutes, _PATIENCE)
        return train(learner, budget, name="table/vae", progress=progress, checkpoint=checkpoint)

    @torch.inference_mode()
    def sample(self, request: SampleRequest) -> Sampled:
        """All candidates asked for; given cells come back as they were given."""
        device = next(self._network.parameters()).device
        codes, values, seen = encode_given(self._codec, request)
        given = row_tokens(self._network.decoder.words, codes, values).to(device)
        noise = self._noise(request, device)
        with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
            codes, values = self._network.sample(given, seen.to(device), noise, temperature=self.params.temperature)
        made = self._codec.decode(EncodedTable(codes, values), key=request.key, candidates=request.candidates)
        exact = self.exact_conditions(self._codec.schema, self.params)
        return Sampled(keep_given(made, request, exact), request.candidates)

    def _noise(self, request: SampleRequest, device: torch.device) -> Noise:
        """Each step number of synthmill.seeds is drawn from once."""
        key, candidates, parts = request.key, request.candidates, len(self._codec.parts)
        first, fine, within = (
            torch.from_numpy(seeds.uniforms(key, candidates, step, parts)).to(device) for step in range(3)
        )
        latents = torch.from_numpy(seeds.normals(key, candidates, 3, self.params.latent))
        return Noise(Uniforms(first, fine, within), latents.to(device, torch.float32))

    def save(self, folder: Path) -> None:
        """The codec, bins and network."""
        self._codec.save(folder)
        save_file(to_tensors(self._network.decoder.words), folder / _BINS_FILE)
        weights = {name: weight.contiguous().cpu() for name, weight in self._network.state_dict().items()}
        save_file(weights, folder / NETWORK_FILE)

    @classmethod
    def load(cls, folder: Path, params: contract.Params, *, device: str) -> Self:
        """Read what `save` wrote."""
        assert isinstance(params, VAE.Params)
        model = cls(params)
        model._codec = TableCodec.load(folder)
        words = from_tensors(model._codec.parts, load_file(folder / _BINS_FILE))
        model._network = _network(words, params, seed=0)
        model._network.load_state_dict(load_file(folder / NETWORK_FILE))
        model._network.to(device)
        return model


def _read(codec: TableCodec, data: TrainData) -> tuple[tuple[Vocabulary, ...], RowTokens]:
    """Train's vocabularies and rows. What the codec gave, several times as large, is forgotten here."""
    encoded = codec.encode(data.table)
    words = vocabularies(codec.parts, encoded.codes, encoded.values)
    return words, row_tokens(words, encoded.codes, encoded.values).packed()


def _network(words: Sequence[Vocabulary], params: VAE.Params, seed: int) -> Vaeac:
    return initialised(
        words, seed, width=params.width, depth=params.depth, latent=params.latent, dropout=params.dropout
    )


def _default_steps(rows: int) -> int:
    """At batches of 256 about 16 epochs, within bounds; small tables overfit before the end and stop by patience."""
    return min(10_000, max(600, rows // 16))


class _Learner(Learner):
    """AdamW with a warm-up and a cosine decay; the moving average of the weights is kept."""

    def __init__(self, network: Vaeac, rows: RowTokens, params: VAE.Params, draw: torch.Generator) -> None:
        self.network, self.average, self.params, self.draw = network, copy.deepcopy(network), params, draw
        self.modules = {"network": network, "kept": self.average}
        train, held = split(len(rows), draw)
        self.train, self.held = rows.take(train), rows.take(held)
        self.optimizer = torch.optim.AdamW(
            network.parameters(), betas=(0.9, 0.99), weight_decay=params.weight_decay, fused=True
        )
        self.optimizers = (self.optimizer,)

    def step(self, number: int, done: float) -> Tensor:
        """One batch; returns its loss, in nats a column."""
        size, device = min(self.params.batch, len(self.train)), self.draw.device
        batch = self.train.take(torch.randint(len(self.train), (size,), generator=self.draw, device=device))
        ranks = random_ranks(self.network.places, len(batch), self.draw)
        set_rate(self.optimizer, self.params.learning_rate * warm_cosine(done, _WARM_UP))
        with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
            logs, divergence = self.network.bound(batch, ranks, self.draw, blur=_BLUR * (1 - done))
        hidden = ranks >= 0
        free = _FREE * (1 - done)
        loss = (size * divergence.mean().clamp_min(free) - (logs * hidden).sum()) / hidden.sum().clamp(min=1)
        self.optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
        self.optimizer.step()
        follow(self.average, self.network, number, _EMA)
        return loss.detach()

    def validate(self) -> float:
        """Nats a validation row, with no column given: the bound at the same draws of latents each time."""
        places, draw = self.average.places, torch.Generator(self.draw.device).manual_seed(0)
        bounds = []
        for rows in torch.split(torch.arange(len(self.held), device=places.device), self.params.batch):
            ranks = places.expand(len(rows), -1)
            logs, divergence = self.average.bound(self.held.take(rows), ranks, draw, trains=False)
            bounds.append(divergence - logs.sum(1))
        return torch.cat(bounds).mean().item()
