"""A class-conditional convolutional VAE whose prior is a flow, so that what is drawn from it is what the decoder was trained on.

Kingma and Welling, "Auto-encoding variational Bayes" (ICLR 2014); Sohn, Lee and Yan, "Learning structured output representation"
(NeurIPS 2015) for the labels; a learned prior instead of N(0, I) after Chen et al., "Variational lossy autoencoder" (ICLR 2017),
here couplings under the labels. All of it is trained at once on the plain evidence bound: no weights between its terms but for a warm-up.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Self

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from generators.nets.convolution import Decoder, Encoder, pyramid
from generators.nets.coupling import CouplingFlow
from generators.nets.learners import AveragedLearner
from generators.nets.pixels import PixelLevels, scale
from generators.nets.training import Budget, train
from synthmill.codecs.image import ImageCodec, Images, Shape
from synthmill.columns import Schema
from synthmill.errors import RecipeError, SourceError
from synthmill.generator import (
    NO_CHECKPOINT,
    Checkpoint,
    Cost,
    Family,
    FitProgress,
    FitReport,
    Generator,
    Params,
    Sampled,
    SampleRequest,
    TrainData,
    sampling,
)
from synthmill.seeds import derive, normals, uniforms

_SMALLEST, _LARGEST = 8, 64  # pixels a side
_WIDTH, _CONTEXT, _HIDDEN, _COUPLINGS = 32, 32, 128, 4
_BATCH = 64  # rows of a step
_WARM_UP = 0.04  # share of the fit until the learning rate is whole
_PHASE_IN = 0.2  # share of the fit over which the prior's term is phased in, lest the latent is never used
_LABELS, _LATENT, _PIXELS = range(3)  # the steps of a candidate's randomness


class ImageVAE(Generator):
    """Images of 8x8 to 64x64, grey or colour, under any number of label columns; other columns are refused.

    Labels that are not given are drawn together, as often as train has them beside those that are. Pixels are independent given the
    latent, so what a latent does not hold shows as noise: little of it in 8x8 digits, much in photographs of 32x32 after a short fit.
    """

    family: ClassVar[Family] = "vae"
    modality = "image"
    version = 2
    codec = ImageCodec

    class Params(Params):
        """`steps` and `latent` follow from the number of rows and the size of the images unless given."""

        steps: int | None = Field(default=None, ge=1, description="optimizer steps; default 30 sqrt(rows)")
        latent: int | None = Field(
            default=None, ge=2, description="numbers in a latent; default 16 at 8x8, doubled with the side"
        )
        max_minutes: float | None = Field(
            default=None, gt=0, description="the fit ends by then; its bytes then follow the clock"
        )
        learning_rate: float = Field(default=2e-3, gt=0)
        temperature: float = sampling(1.0, gt=0, le=2, description="below 1: safer images, less variety")

    params: Params
    _model: _Model | None = None

    @classmethod
    def schema(cls, source: Schema, params: Params) -> Schema:
        """The source's own; raises RecipeError unless it is one image column and labels."""
        if sum(column.kind == "image" for column in source) != 1:
            raise RecipeError("image/vae makes exactly one image column, the source has none or several")
        for column in source:
            if column.kind != "image" and not column.is_discrete:
                raise RecipeError(
                    f"image/vae cannot make column {column.name} of kind {column.kind}, only labels beside the image",
                    hint="leave the column out, or declare it a category under source.columns",
                )
        return source

    @classmethod
    def exact_conditions(cls, source: Schema, params: Params) -> frozenset[str]:
        """Every label column."""
        return frozenset(column.name for column in source if column.is_discrete)

    @classmethod
    def memory_bytes(cls, source: Schema, params: Params) -> int:
        """The whole process for a micro-batch of 64x64 in colour, which took 1.1 GiB; a schema does not tell the size of the images."""
        return 1280 << 20

    @classmethod
    def cost(cls, source: Schema, train_rows: int, params: Params) -> Cost:
        """As measured on digits of 8x8; larger images take longer in proportion to their pixels."""
        assert isinstance(params, cls.Params)
        fit_s = min(0.026 * _steps(params, train_rows), 60 * (params.max_minutes or math.inf))
        return Cost(fit_s=fit_s, rows_per_s=7_500)

    def fit(
        self,
        data: TrainData,
        *,
        seed: int,
        device: str,
        progress: FitProgress,
        checkpoint: Checkpoint = NO_CHECKPOINT,
    ) -> FitReport:
        """Train on the images; losses are nats a pixel. Raises SourceError for a size out of range, FitError when it diverges."""
        codec = ImageCodec.fit(data.table, data.schema)
        _check_size(codec.shape)
        images = codec.encode(data.table)
        with torch.random.fork_rng(devices=[]):  # layers draw their first weights from torch's global generator
            torch.manual_seed(derive(seed, "weights"))
            network = _placed(_Network(codec, torch.unique(images.pixels), self.params.latent), device)
        draw = torch.Generator(device).manual_seed(derive(seed, "train"))
        learner = _Learner(network, images, self.params.learning_rate, draw)
        budget = Budget(_steps(self.params, data.table.num_rows), self.params.max_minutes)
        report = train(learner, budget, name="image/vae", progress=progress, checkpoint=checkpoint)
        self._model = _Model(codec, _joint(images.labels.numpy()), learner.average.eval())
        return report

    def sample(self, request: SampleRequest) -> Sampled:
        """Labels, latent, pixels: one stream of randomness each."""
        assert self._model is not None, "fit or load comes first"
        assert len(request.candidates) == self.micro_batch, "convolutions of other batch sizes differ in bits"
        codec, network = self._model.codec, self._model.network
        key, candidates, size = request.key, request.candidates, math.prod(codec.shape)
        labels = torch.from_numpy(self._labels(request))
        noise = self.params.temperature * normals(key, candidates, _LATENT, network.latent)
        chance = uniforms(key, candidates, _PIXELS, size).reshape(-1, *codec.shape)
        with torch.inference_mode():
            pixels = network.draw(labels, torch.from_numpy(noise), torch.from_numpy(chance), self.params.temperature)
        return Sampled(codec.decode(Images(pixels.cpu(), labels)), candidates)

    def _labels(self, request: SampleRequest) -> NDArray[np.int64]:
        """Given labels, and the others by one uniform from train's rows that agree with those (from all, should none agree)."""
        assert self._model is not None
        codec, joint = self._model.codec, self._model.joint
        given = np.full((len(request.candidates), len(codec.labels)), -1)
        for number, column in enumerate(codec.labels):
            if column.name in request.given.column_names:
                rows = request.mask[:, request.given.column_names.index(column.name)]
                given[rows, number] = codec.label_numbers(column.name, request.given[column.name].filter(rows))
        agrees = ((given[:, None] == joint.labels) | (given[:, None] < 0)).all(2)  # (rows, combinations)
        agrees[~agrees.any(1)] = True
        cumulative = np.cumsum(agrees * joint.rows, axis=1)
        aim = uniforms(request.key, request.candidates, _LABELS, 1) * cumulative[:, -1:]
        return np.where(given < 0, joint.labels[(cumulative <= aim).sum(1)], given)

    def save(self, folder: Path) -> None:
        """Write network.safetensors, model.json and codec.json."""
        assert self._model is not None, "fit or load comes first"
        joint = self._model.joint
        state = {"latent": self._model.network.latent, "labels": joint.labels.tolist(), "rows": joint.rows.tolist()}
        weights = {name: weight.cpu().contiguous() for name, weight in self._model.network.state_dict().items()}
        save_file(weights, folder / "network.safetensors")
        (folder / "model.json").write_text(json.dumps(state), encoding="utf-8")
        self._model.codec.save(folder)

    @classmethod
    def load(cls, folder: Path, params: Params, *, device: str) -> Self:
        """Read what `save` wrote."""
        codec = ImageCodec.load(folder)
        state = json.loads((folder / "model.json").read_text(encoding="utf-8"))
        weights = load_file(folder / "network.safetensors")
        network = _Network(codec, weights["levels.values"], state["latent"])
        network.load_state_dict(weights)
        labels = np.array(state["labels"], np.int64).reshape(len(state["rows"]), len(codec.labels))
        generator = cls(params)
        generator._model = _Model(codec, _Joint(labels, np.array(state["rows"])), _placed(network, device).eval())
        return generator


def _steps(params: Params, train_rows: int) -> int:
    assert isinstance(params, ImageVAE.Params)
    return params.steps or round(30 * math.sqrt(train_rows))


@dataclass(frozen=True, slots=True)
class _Joint:
    """The combinations of labels in train, (combinations, label columns), and the rows that have each."""

    labels: NDArray[np.int64]
    rows: NDArray[np.int64]


def _joint(labels: NDArray[np.int64]) -> _Joint:
    if labels.shape[1] == 0:
        return _Joint(labels[:1], np.array([len(labels)]))
    return _Joint(*np.unique(labels, axis=0, return_counts=True))


@dataclass(frozen=True, slots=True)
class _Model:
    """All that sampling needs."""

    codec: ImageCodec
    joint: _Joint
    network: _Network


class _Network(nn.Module):
    """q(z | x, y), p(z | y) and p(x | z, y)."""

    def __init__(self, codec: ImageCodec, levels: Tensor, latent: int | None) -> None:
        super().__init__()
        channels, height, width = codec.shape
        self.latent = latent or 8 * 2 ** (len(pyramid(height, width, 1)[0]) - 1)
        self.levels = PixelLevels(levels)
        self.embeddings = nn.ModuleList([nn.Embedding(len(words), _CONTEXT) for words in codec.vocabularies])
        self.encoder = Encoder(channels, height, width, first=_WIDTH)
        self.posterior = nn.Linear(self.encoder.features + _CONTEXT, 2 * self.latent)
        self.prior = CouplingFlow(self.latent, _CONTEXT, couplings=_COUPLINGS, hidden=_HIDDEN)
        self.decoder = Decoder(self.latent + _CONTEXT, 2 * channels, height, width, first=_WIDTH)

    def bound(self, pixels: Tensor, labels: Tensor, noise: Tensor, weight: float) -> Tensor:
        """-log p(x | z, y) + weight (log q(z | x, y) - log p(z | y)) in nats, shape (rows,); the negative evidence bound at weight 1."""
        context = self._context(labels)
        with self._precision():
            features = self.encoder(scale(pixels))
        mean, log_variance = self.posterior(torch.cat([features.float(), context], 1)).chunk(2, 1)
        log_variance = log_variance.clamp(-10, 3)
        z = mean + noise * torch.exp(log_variance / 2)
        log_q = -0.5 * (noise**2 + log_variance + math.log(2 * math.pi)).sum(1)
        divergence = log_q - self.prior.log_density(z, context)
        return weight * divergence - self.levels.log_probability(pixels, self._maps(z, context))

    def draw(self, labels: Tensor, noise: Tensor, chance: Tensor, temperature: float) -> Tensor:
        """Pixels (rows, channels, height, width) as bytes, from normals (rows, latent) and uniforms in the shape of the pixels."""
        device = self.levels.values.device
        context = self._context(labels.to(device))
        z = self.prior.draw(noise.to(device, torch.float32), context)
        return self.levels.draw(chance.to(device), self._maps(z, context), temperature)

    def _context(self, labels: Tensor) -> Tensor:
        context = self.levels.edges.new_zeros(len(labels), _CONTEXT)
        for number, embedding in enumerate(self.embeddings):
            context = context + embedding(labels[:, number])
        return context

    def _maps(self, z: Tensor, context: Tensor) -> Tensor:
        with self._precision():
            maps = self.decoder(torch.cat([z, context], 1))
        return maps.float()

    def _precision(self) -> torch.autocast:
        """Convolutions in bfloat16 on a GPU; density and likelihood stay in float32."""
        device = self.levels.values.device.type
        return torch.autocast(device, torch.bfloat16, enabled=device == "cuda")


def _placed(network: _Network, device: str) -> _Network:
    """On the device, in the memory order in which its convolutions are fast."""
    order = torch.channels_last if device.startswith("cuda") else torch.contiguous_format
    return network.to(device=device, memory_format=order)


class _Learner(AveragedLearner[_Network]):
    def __init__(self, network: _Network, images: Images, learning_rate: float, draw: torch.Generator) -> None:
        super().__init__(network, draw, learning_rate=learning_rate, warm_up=_WARM_UP)
        self.pixels, self.labels = images.pixels.to(draw.device), images.labels.to(draw.device)

    def loss(self, done: float) -> Tensor:
        """Nats a pixel."""
        rows = torch.randint(len(self.pixels), (_BATCH,), generator=self.draw, device=self.draw.device)
        noise = torch.randn(_BATCH, self.network.latent, generator=self.draw, device=self.draw.device)
        bound = self.network.bound(self.pixels[rows], self.labels[rows], noise, weight=min(1.0, done / _PHASE_IN))
        return bound.mean() / self.pixels[0].numel()


def _check_size(shape: Shape) -> None:
    if not all(_SMALLEST <= side <= _LARGEST for side in (shape.height, shape.width)):
        raise SourceError(
            f"images are {shape.width}x{shape.height}, image/vae takes {_SMALLEST} to {_LARGEST} pixels a side",
            hint="resize them",
        )
