"""A variational autoencoder with arbitrary conditioning for mixed tables.

Ivanov, Figurnov and Vetrov, "Variational Autoencoder with Arbitrary Conditioning" (ICLR 2019): prior p(z | seen), proposal
q(z | row, seen) and decoder p(hidden part | z, seen) are trained with random sets of seen columns, so that any columns can be given. It departs
from the paper in three ways. The prior is a mixture of normals, which fits the aggregate posterior better than one normal
(Tomczak and Welling, "VAE with a VampPrior", AISTATS 2018). A row is made in `rounds`: each draws a latent and a few columns given those of the rounds
before, as an order-agnostic autoregressive model does (Hoogeboom et al., "Autoregressive Diffusion Models", ICLR 2022). And numbers have codes
(see codecs/numbers.py), so that spikes and few-valued numbers are met exactly.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from numpy.typing import NDArray
from pydantic import Field
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from generators.nets.mixed import Residual, RowEmbedding, RowLikelihood, initialise, invert
from synthmill import generator as contract
from synthmill import seeds
from synthmill.codecs.table import EncodedTable, Part, TableCodec
from synthmill.columns import Schema
from synthmill.errors import FitError, RecipeError
from synthmill.generator import FitProgress, FitReport, Generator, Sampled, SampleRequest, TrainData, sampling

_REPORT_EVERY = 20
_COLUMNS_STEP, _VALUES_STEP, _LATENT_STEP = (
    0,
    1,
    2,
)  # which draws of synthmill.seeds; each round takes two from _LATENT_STEP on
_STD = (-6.0, 2.0)  # bounds of log standard deviations in the latent space


class VAE(Generator):
    """See the module. Every encoded column can be given exactly; ids are made anew."""

    family = "vae"
    modality = "table"
    version = 1
    codec = TableCodec
    micro_batch = 1024

    class Params(contract.Params):
        """`steps` is the dial: by default it follows from the number of train rows."""

        steps: int | None = Field(None, ge=1, description="optimizer steps; by default as train has rows")
        width: int = Field(128, ge=8, description="units of a hidden layer")
        depth: int = Field(2, ge=1, description="residual blocks of encoder and decoder")
        latent: int = Field(8, ge=1, description="dimensions of the latent space")
        components: int = Field(8, ge=1, description="normals that the prior mixes")
        rounds: int | None = Field(None, ge=1, description="passes that make a row; by default one a column")
        batch: int = Field(512, ge=1, description="rows of an optimizer step")
        learning_rate: float = Field(2e-3, gt=0)
        temperature: float = sampling(1.0, gt=0, le=2, description="below 1 the likely rows become likelier")

    params: VAE.Params

    def __init__(self, params: VAE.Params) -> None:
        super().__init__(params)
        self.device = torch.device("cpu")

    @classmethod
    def schema(cls, source: Schema, params: contract.Params) -> Schema:
        """Any table; text and images are refused."""
        for column in source:
            if column.kind in ("text", "image"):
                raise RecipeError(
                    f"table/vae cannot make the column {column.name!r} of kind {column.kind}",
                    where=f"source.columns.{column.name}",
                    hint="override its kind, or leave the column out of the source",
                )
        return source

    @classmethod
    def exact_conditions(cls, source: Schema, params: contract.Params) -> frozenset[str]:
        """Every column but ids."""
        return frozenset(column.name for column in source if column.kind != "id")

    @classmethod
    def memory_bytes(cls, source: Schema, params: contract.Params) -> int:
        """Torch itself, and weights and one micro-batch at 256 codes a column."""
        codes = 256 * len(source)
        weights = codes * 3 * params.width + (4 * params.depth + 4) * params.width**2
        return 400 * 2**20 + 4 * (weights + cls.micro_batch * (3 * codes + 8 * params.width))

    def fit(self, data: TrainData, *, seed: int, device: str, progress: FitProgress) -> FitReport:
        """Maximise the evidence lower bound by AdamW with a cosine schedule."""
        self.device = torch.device(device)
        self.table_codec = TableCodec.fit(data.table, data.schema)
        encoded = self.table_codec.encode(data.table)
        codes, values = encoded.codes.to(device), encoded.values.to(device, torch.float32)
        self.network = Network(self.table_codec.parts, self.params)
        draw = torch.Generator().manual_seed(seed)
        initialise(self.network, draw)
        self.network.to(device).train()
        noise = torch.Generator(device).manual_seed(seed)
        steps = self.params.steps or _default_steps(len(codes))
        optimizer = torch.optim.AdamW(self.network.parameters(), lr=self.params.learning_rate, weight_decay=1e-2)
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimizer, self.params.learning_rate, total_steps=steps + 1, pct_start=0.1
        )
        losses: list[tuple[int, float]] = []
        since = torch.zeros((), device=device)
        for step in range(1, steps + 1):
            chosen = torch.randint(len(codes), (min(self.params.batch, len(codes)),), generator=noise, device=device)
            loss = self.network.loss(codes[chosen], values[chosen], noise)
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            since += loss.detach()
            if step % _REPORT_EVERY == 0 or step == steps:
                mean = since.item() / ((step - 1) % _REPORT_EVERY + 1)
                if not math.isfinite(mean):
                    raise FitError(f"table/vae diverged by step {step}", hint="lower params.learning_rate")
                losses.append((step, mean))
                progress(step, steps, mean)
                since.zero_()
        self.network.eval()
        return FitReport(steps, "steps", tuple(losses))

    @torch.inference_mode()
    def sample(self, request: SampleRequest) -> Sampled:
        """All candidates asked for; given cells come back as they were given."""
        codes, values, seen = self._given(request)
        parts, key, candidates = len(self.table_codec.parts), request.key, request.candidates
        latent, rounds = self.params.latent, len(self.network.rounds)

        def noise(draw: object, step: int, size: int) -> Tensor:
            return torch.from_numpy(draw(key, candidates, step, size).astype(np.float32)).to(self.device)

        codes, values = self.network.sample(
            codes,
            values,
            seen,
            uniforms=noise(seeds.uniforms, _COLUMNS_STEP, 2 * parts),
            normals=noise(seeds.normals, _VALUES_STEP, parts),
            choices=noise(seeds.uniforms, _LATENT_STEP, rounds),
            latents=noise(seeds.normals, _LATENT_STEP + 1, rounds * latent),
            temperature=self.params.temperature,
        )
        made = self.table_codec.decode(EncodedTable(codes, values), key=key, candidates=candidates)
        return Sampled(_keep_given(made, request, self.exact_conditions(made_schema(self), self.params)), candidates)

    def _given(self, request: SampleRequest) -> tuple[Tensor, Tensor, Tensor]:
        """Given cells encoded, and zeros where nothing is given."""
        shape = (len(request.candidates), len(self.table_codec.parts))
        codes, values, seen = np.zeros(shape, np.int64), np.zeros(shape, np.float32), np.zeros(shape, np.bool_)
        names = [part.name for part in self.table_codec.parts]
        for i, name in enumerate(request.given.column_names):
            if name in names and (rows := request.mask[:, i]).any():
                cells = self.table_codec.encode_column(name, request.given[name].filter(pa.array(rows)))
                j = names.index(name)
                codes[rows, j], values[rows, j], seen[rows, j] = cells.codes, cells.values, True
        return tuple(torch.from_numpy(a).to(self.device) for a in (codes, values, seen))

    def save(self, folder: Path) -> None:
        """The codec and `model.safetensors`."""
        self.table_codec.save(folder)
        save_file(
            {name: t.contiguous().cpu() for name, t in self.network.state_dict().items()}, folder / "model.safetensors"
        )

    @classmethod
    def load(cls, folder: Path, params: contract.Params, *, device: str) -> Self:
        """Read what `save` wrote."""
        model = cls(params)
        model.device = torch.device(device)
        model.table_codec = TableCodec.load(folder)
        model.network = Network(model.table_codec.parts, params)
        model.network.load_state_dict(load_file(folder / "model.safetensors"))
        model.network.to(device).eval()
        return model


class Network(nn.Module):
    """Prior, proposal and decoder over one embedding of what is seen."""

    def __init__(self, parts: tuple[Part, ...], params: VAE.Params) -> None:
        super().__init__()
        width, self.latent, self.components = params.width, params.latent, params.components
        self.parts = parts
        rounds = min(params.rounds or len(parts), len(parts))
        self.rounds = [list(range(r, len(parts), rounds)) for r in range(rounds)]
        self.round_of = torch.tensor([j % rounds for j in range(len(parts))])
        self.seen = RowEmbedding(parts, width)
        self.trunk = Residual(width, 1)
        self.prior = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, self.components * (1 + 2 * self.latent)))
        self.row = RowEmbedding(parts, width)
        self.seen_of_row = nn.Linear(len(parts), width)
        self.proposal = nn.Sequential(
            Residual(width, params.depth), nn.LayerNorm(width), nn.Linear(width, 2 * self.latent)
        )
        self.from_latent = nn.Linear(self.latent, width)
        self.decoder = Residual(width, params.depth)
        self.likelihood = RowLikelihood(parts, width)

    def loss(self, codes: Tensor, values: Tensor, noise: torch.Generator) -> Tensor:
        """Negative evidence lower bound of the columns hidden by a random mask, in nats a column."""
        seen = self._random_seen(codes, noise)
        hidden = self.trunk(self.seen(codes, values, seen))
        everything = torch.ones_like(seen)
        statistics = self.proposal(self.row(codes, values, everything) + self.seen_of_row(seen.float()))
        mean, log_std = statistics.chunk(2, 1)
        log_std = log_std.clamp(*_STD)
        epsilon = torch.randn(mean.shape, generator=noise, device=mean.device)
        z = mean + torch.exp(log_std) * epsilon
        log_q = (-0.5 * epsilon.square() - log_std).sum(1)
        weights, means, log_stds = self._prior(hidden)
        deviations = (z[:, None] - means) * torch.exp(-log_stds)
        log_p = torch.logsumexp(weights + (-0.5 * deviations.square() - log_stds).sum(2), 1)
        of_columns = self.likelihood.log_prob(self.decoder(hidden + self.from_latent(z)), codes, values)
        self.last = ((of_columns * ~seen).sum(1).mean().item(), (log_q - log_p).mean().item())
        return ((log_q - log_p) - (of_columns * ~seen).sum(1)).mean() / len(self.parts)

    def _random_seen(self, codes: Tensor, noise: torch.Generator) -> Tensor:
        """What the rounds before a random one made, and for half of the rows a random set of given columns too."""
        rows, parts = codes.shape
        device = codes.device
        round_ = torch.randint(len(self.rounds), (rows, 1), generator=noise, device=device)
        given = torch.randint(parts, (rows, 1), generator=noise, device=device)
        given = given * torch.randint(2, (rows, 1), generator=noise, device=device)
        rank = torch.rand((rows, parts), generator=noise, device=device).argsort(1)
        return (self.round_of.to(device) < round_) | (rank < given)

    def _prior(self, hidden: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        raw = self.prior(hidden).float()
        weights, rest = raw.split([self.components, 2 * self.components * self.latent], 1)
        means, log_stds = rest.unflatten(1, (2, self.components, self.latent)).unbind(1)
        return torch.log_softmax(weights, 1), means, log_stds.clamp(*_STD)

    def sample(
        self,
        codes: Tensor,
        values: Tensor,
        seen: Tensor,
        *,
        uniforms: Tensor,
        normals: Tensor,
        choices: Tensor,
        latents: Tensor,
        temperature: float,
    ) -> tuple[Tensor, Tensor]:
        """Round by round: a latent given what is seen, then the round's columns given both."""
        seen = seen.clone()
        for r, columns in enumerate(self.rounds):
            hidden = self.trunk(self.seen(codes, values, seen))
            weights, means, log_stds = self._prior(hidden)
            chosen = invert(weights, choices[:, r])[:, None, None].expand(-1, 1, self.latent)
            epsilon = latents[:, r * self.latent : (r + 1) * self.latent]
            z = means.gather(1, chosen)[:, 0] + torch.exp(log_stds.gather(1, chosen)[:, 0]) * epsilon * temperature
            made_codes, made_values = self.likelihood.sample(
                self.decoder(hidden + self.from_latent(z)), uniforms, normals, temperature
            )
            new = torch.zeros_like(seen)
            new[:, columns] = True
            new &= ~seen
            codes, values = torch.where(new, made_codes, codes), torch.where(new, made_values, values)
            seen |= new
        return codes, values


def made_schema(model: VAE) -> Schema:
    return model.table_codec.schema


def _default_steps(rows: int) -> int:
    return int(min(6_000, max(1_000, 0.5 * rows)))


def _keep_given(made: pa.Table, request: SampleRequest, exact: frozenset[str]) -> pa.Table:
    for i, name in enumerate(request.given.column_names):
        if name in exact:
            index = made.column_names.index(name)
            cells = pc.if_else(
                pa.array(request.mask[:, i]), request.given[name].cast(made.schema.field(name).type), made[name]
            )
            made = made.set_column(index, made.schema.field(name), cells)
    return made
