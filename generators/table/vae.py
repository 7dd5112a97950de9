"""A variational autoencoder with arbitrary conditioning, for mixed tables.

Ivanov, Figurnov and Vetrov, "Variational Autoencoder with Arbitrary Conditioning" (ICLR 2019): the prior p(z | seen), the proposal
q(z | row, seen) and the decoder p(hidden columns | z, seen) are trained with random sets of seen columns, so that any can be
given. Three departures. The prior is a mixture of normals, which is closer to the aggregate posterior than one normal (Tomczak
and Welling, "VAE with a VampPrior", AISTATS 2018). A row is made in a few `rounds`, each of which draws a latent and some of the
columns given those of the rounds before (Hoogeboom et al., "Autoregressive Diffusion Models", ICLR 2022, whose rounds
have no latent). And numbers that many rows share have codes of their own (codecs/numbers.py), so that spikes are met exactly.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from generators.nets.given import encode_given, keep_given
from generators.nets.mixed import RowNoise, initialise
from generators.nets.table import TableGenerator
from generators.nets.vaeac import Noise, Vaeac
from synthmill import generator as contract
from synthmill import seeds
from synthmill.codecs.table import EncodedTable, TableCodec
from synthmill.columns import Schema
from synthmill.errors import FitError
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

_REPORT_EVERY = 20
_WEIGHT_DECAY = 0.01


class VAE(TableGenerator):
    """Mixed tables: any columns can be given exactly, ids are made anew."""

    family = "vae"
    version = 1

    class Params(contract.Params):
        """`steps` is the dial: by default it follows from the number of train rows."""

        steps: int | None = Field(None, ge=1, description="optimizer steps; by default as train has rows")
        width: int = Field(128, ge=8, description="units of a hidden layer")
        depth: int = Field(2, ge=1, description="residual blocks of encoder and decoder")
        latent: int = Field(8, ge=1, description="dimensions of the latent space")
        components: int = Field(8, ge=1, description="normals that the prior mixes")
        rounds: int = Field(3, ge=1, description="passes that make a row; more are slower and come a little closer")
        batch: int = Field(512, ge=1, description="rows of an optimizer step")
        learning_rate: float = Field(2e-3, gt=0)
        temperature: float = sampling(1.0, gt=0, le=2, description="below 1 the likely rows become likelier")

    params: VAE.Params
    _network: Vaeac

    @classmethod
    def memory_bytes(cls, source: Schema, params: contract.Params) -> int:
        """Torch itself, and weights and one micro-batch at 256 codes a column."""
        assert isinstance(params, VAE.Params)
        codes = 256 * len(source)
        weights = codes * 3 * params.width + (4 * params.depth + 4) * params.width**2
        return 400 * 2**20 + 4 * (weights + cls.micro_batch * (3 * codes + 8 * params.width))

    @classmethod
    def cost(cls, source: Schema, train_rows: int, params: contract.Params) -> Cost:
        """As measured on `fair` (9 columns) and Adult (15 columns) with the default networks."""
        assert isinstance(params, cls.Params)
        return Cost(
            fit_s=0.019 * (params.steps or _default_steps(train_rows)), rows_per_s=1.5e6 / (len(source) * params.rounds)
        )

    def fit(
        self,
        data: TrainData,
        *,
        seed: int,
        device: str,
        progress: FitProgress,
        checkpoint: Checkpoint = NO_CHECKPOINT,
    ) -> FitReport:
        """Maximise the evidence lower bound; see `_train`."""
        self._codec = TableCodec.fit(data.table, data.schema)
        encoded = self._codec.encode(data.table)
        self._network = _network(self._codec, self.params)
        initialise(self._network, torch.Generator().manual_seed(seeds.derive(seed, "weights")))
        self._network.to(device)
        rows = encoded.codes.to(device), encoded.values.to(device, torch.float32)
        draw = torch.Generator(device).manual_seed(seeds.derive(seed, "draws"))
        losses = _train(self._network, *rows, self.params, draw=draw, progress=progress)
        return FitReport(losses[-1][0], "steps", losses)

    @torch.inference_mode()
    def sample(self, request: SampleRequest) -> Sampled:
        """All candidates asked for; given cells come back as they were given."""
        device = next(self._network.parameters()).device
        codes, values, seen = (cells.to(device) for cells in encode_given(self._codec, request))
        with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
            noise = self._noise(request, device)
            codes, values = self._network.sample(codes, values, seen, noise, self.params.temperature)
        encoded = EncodedTable(codes, values)
        made = self._codec.decode(encoded, key=request.key, candidates=request.candidates)
        return Sampled(keep_given(made, request, self._parts()), request.candidates)

    def _parts(self) -> list[str]:
        return [part.name for part in self._codec.parts]

    def _noise(self, request: SampleRequest, device: torch.device) -> Noise:
        """Each step number of synthmill.seeds is drawn from once."""
        parts, rounds, latent = len(self._codec.parts), len(self._network.rounds), self.params.latent

        def tensor(draws: NDArray[np.float64]) -> Tensor:
            return torch.from_numpy(draws.astype(np.float32)).to(device)

        key, candidates = request.key, request.candidates
        of_parts = RowNoise(
            codes=tensor(seeds.uniforms(key, candidates, 0, parts)),
            components=tensor(seeds.uniforms(key, candidates, 1, parts)),
            values=tensor(seeds.normals(key, candidates, 2, parts)),
        )
        latents = tensor(seeds.normals(key, candidates, 4, rounds * latent)).reshape(-1, rounds, latent)
        return Noise(of_parts, priors=tensor(seeds.uniforms(key, candidates, 3, rounds)), latents=latents)

    def save(self, folder: Path) -> None:
        """The codec and `network.safetensors`."""
        self._codec.save(folder)
        weights = {name: weight.contiguous().cpu() for name, weight in self._network.state_dict().items()}
        save_file(weights, folder / "network.safetensors")

    @classmethod
    def load(cls, folder: Path, params: contract.Params, *, device: str) -> Self:
        """Read what `save` wrote."""
        assert isinstance(params, VAE.Params)
        model = cls(params)
        model._codec = TableCodec.load(folder)
        model._network = _network(model._codec, params)
        model._network.load_state_dict(load_file(folder / "network.safetensors"))
        model._network.to(device)
        return model


def _network(codec: TableCodec, params: VAE.Params) -> Vaeac:
    """Parts go to the rounds in turn, so that neighbours, which tend to depend on each other, are made one after the other."""
    parts = codec.parts
    rounds = [list(range(r, len(parts), params.rounds)) for r in range(min(params.rounds, len(parts)))]
    return Vaeac(
        parts, rounds, width=params.width, depth=params.depth, latent=params.latent, components=params.components
    )


def _train(
    network: Vaeac,
    codes: Tensor,
    values: Tensor,
    params: VAE.Params,
    *,
    draw: torch.Generator,
    progress: FitProgress,
) -> tuple[tuple[int, float], ...]:
    """AdamW with a warm-up and a cosine decay; the mean loss of every 20 steps is reported. Raises FitError when it is not finite."""
    rows, device = len(codes), codes.device
    steps = params.steps or _default_steps(rows)
    optimizer = torch.optim.AdamW(network.parameters(), lr=params.learning_rate, weight_decay=_WEIGHT_DECAY)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _schedule(step / steps))
    losses: list[tuple[int, float]] = []
    total = torch.zeros((), device=device)
    for step in range(1, steps + 1):
        chosen = torch.randint(rows, (min(params.batch, rows),), generator=draw, device=device)
        with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
            loss = network.loss(codes[chosen], values[chosen], draw)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        total += loss.detach()
        if step % _REPORT_EVERY == 0 or step == steps:
            mean = total.item() / ((step - 1) % _REPORT_EVERY + 1)
            if not math.isfinite(mean):
                raise FitError(f"table/vae diverged by step {step} of {steps}", hint="lower params.learning_rate")
            losses.append((step, mean))
            progress(step, steps, mean)
            total.zero_()
    return tuple(losses)


def _schedule(done: float) -> float:
    """The learning rate as a share of its peak: up in the first tenth, then down to zero by a cosine."""
    return done / 0.1 if done < 0.1 else 0.5 + 0.5 * math.cos(math.pi * (done - 0.1) / 0.9)


def _default_steps(rows: int) -> int:
    """150 epochs at batches of 512, within bounds."""
    return min(20_000, max(300, 3 * rows // 10))
