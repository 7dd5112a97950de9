"""How far apart are the features of synthetic and of real images?"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from synthmill.codecs.image import Shape, common_shape, image_column, read_pixels
from synthmill.columns import Modality, Schema
from synthmill.evaluator import Direction, Evaluator, Measured, Measurement, References

FEATURES = 32
_WIDTH, _STEPS, _BATCH, _RATE = 32, 300, 64, 2e-3
_TRAIN_ROWS = 20_000  # more than the steps can visit
_ROWS_AT_ONCE = 256

Vector = NDArray[np.float64]
Matrix = NDArray[np.float64]


class Frechet(Evaluator):
    """The Fréchet distance between two Gaussians, one fitted to the features of each side; 0 means equal means and covariances.

    Heusel et al., "GANs trained by a two time-scale update rule converge to a local Nash equilibrium" (NeurIPS 2017). Where they take
    2048 features of Inception, these are 32 of a small classifier of train's labels and of quarter turns (the latter alone where there are
    no labels: Gidaris, Singh and Komodakis, ICLR 2018), in units of their spread over train. So a few hundred rows a side suffice and no
    weights are fetched, and values are comparable within one source only. It rises as the rows a side fall (its bias goes with 1 / rows),
    so compare at equal rows; it sees neither copies of train nor what the classifier has no use for.
    """

    modality: ClassVar[Modality] = "image"
    version: ClassVar[int] = 1
    scores: ClassVar[Mapping[str, Direction]] = {"": "lower"}
    remedy: ClassVar[str] = (
        "Look at the pictures by label: blur and noise ask for a longer fit or a larger network, a missing "
        "label for more rows of it or for balance."
    )
    minimum_rows: ClassVar[int] = 2 * FEATURES
    maximum_rows: ClassVar[int] = 4_000

    def prepare(self, train: pa.Table, schema: Schema, *, seed: int) -> FeatureExtractor:
        """Train the classifier, from `seed` and on a fixed number of threads: the same on any number of cores."""
        name = image_column(schema).name
        shape = common_shape(train[name], name)
        with _threads(self.threads), torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)  # layers draw their first weights from torch's global generator
            chosen = train.take(torch.randperm(train.num_rows)[:_TRAIN_ROWS].numpy())
            pixels = torch.from_numpy(read_pixels(chosen[name], name, shape))
            task = _task(pixels, _labels(chosen, schema))
            network = _Classifier(shape, task.classes)
            _train(network, task)
            spread = _features(network, pixels).std(0, correction=0)
        return FeatureExtractor(network, shape, spread + 1e-6)  # one that is constant on train must not divide by zero

    def measure(self, measured: Measured, references: References, *, seed: int) -> Measurement:
        """Reads no `seed`: the distance of two sets of rows has no chance in it."""
        if not isinstance(measured, Measured):
            raise TypeError("the rows to judge come first, as Measured")
        extractor = references.features
        assert isinstance(extractor, FeatureExtractor), "prepare comes first"
        name = image_column(references.schema).name
        with _threads(self.threads):
            sides = [extractor(table[name], name) for table in (measured.table, references.holdout.table)]
        moments = [(side.mean(0), np.cov(side, rowvar=False)) for side in sides]
        return Measurement({"": frechet_distance(*moments[0], *moments[1])})


def frechet_distance(mean_a: Vector, covariance_a: Matrix, mean_b: Vector, covariance_b: Matrix) -> float:
    """|mean_a - mean_b|^2 + tr(A + B - 2 (A B)^(1/2)) of two Gaussians, the squared 2-Wasserstein distance; symmetric, at least 0.

    (A B)^(1/2) has the trace of (A^(1/2) B A^(1/2))^(1/2), which is symmetric: its eigenvalues are real and found stably.
    """
    values, vectors = np.linalg.eigh(covariance_a)
    root = (vectors * np.sqrt(values.clip(0))) @ vectors.T
    cross = np.sqrt(np.linalg.eigvalsh(root @ covariance_b @ root).clip(0)).sum()
    apart = ((mean_a - mean_b) ** 2).sum() + np.trace(covariance_a) + np.trace(covariance_b) - 2 * cross
    return max(0.0, float(apart))


@dataclass(frozen=True, slots=True)
class FeatureExtractor:
    """The trained classifier, and the standard deviation of each of its features over train."""

    network: _Classifier
    shape: Shape
    spread: Tensor

    def __call__(self, cells: pa.ChunkedArray, column: str) -> Matrix:
        """Features of the images, shape (rows, FEATURES). Raises SourceError where an image is not of train's size."""
        pixels = torch.from_numpy(read_pixels(cells, column, self.shape))
        return (_features(self.network, pixels) / self.spread).double().numpy()


class _Classifier(nn.Module):
    """Halves the image to about 4 a side, so that any size ends in as many features.

    The features are read before their activation: behind a bounded one they saturate, and neither noise nor blur moves them.
    """

    def __init__(self, shape: Shape, classes: int) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.Conv2d(shape.channels, _WIDTH, 3, padding=1), nn.SiLU()]
        for _ in range(max(1, round(math.log2(min(shape.height, shape.width) / 4)))):
            layers += [nn.Conv2d(_WIDTH, _WIDTH, 3, stride=2, padding=1), nn.SiLU()]
        self.features = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(16 * _WIDTH, FEATURES))
        self.logits = nn.Sequential(nn.SiLU(), nn.Linear(FEATURES, classes))

    def forward(self, images: Tensor) -> Tensor:
        """Logits (rows, classes) of images scaled to [-1, 1]."""
        return self.logits(self.features(images))


@dataclass(frozen=True, slots=True)
class _Task:
    """What the classifier learns: `answers` (rows,) to `pixels` (rows, channels, side, side)."""

    pixels: Tensor
    answers: Tensor
    classes: int


def _task(pixels: Tensor, labels: Tensor) -> _Task:
    """Which label has it, and by how many quarter turns was the square in its middle turned?"""
    side, (height, width) = min(pixels.shape[2:]), pixels.shape[2:]
    top, left = (height - side) // 2, (width - side) // 2
    square = pixels[:, :, top : top + side, left : left + side]
    turned = torch.cat([torch.rot90(square, turns, (2, 3)) for turns in range(4)])
    return _Task(turned, torch.cat([4 * labels + turns for turns in range(4)]), 4 * (int(labels.max()) + 1))


def _labels(train: pa.Table, schema: Schema) -> Tensor:
    """Of the target where it is discrete, else of the first discrete column; all 0 where there is none."""
    discrete = [column.name for column in schema if column.is_discrete]
    if not discrete:
        return torch.zeros(train.num_rows, dtype=torch.int64)
    labels = train[schema.target if schema.target in discrete else discrete[0]].combine_chunks()
    return torch.from_numpy(np.array(labels.dictionary_encode(null_encoding="encode").indices, dtype=np.int64))


def _train(network: _Classifier, task: _Task) -> None:
    optimizer = torch.optim.AdamW(network.parameters(), lr=_RATE)
    for _ in range(_STEPS):
        rows = torch.randint(len(task.answers), (_BATCH,))
        loss = F.cross_entropy(network(_scaled(task.pixels[rows])), task.answers[rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


@torch.inference_mode()
def _features(network: _Classifier, pixels: Tensor) -> Tensor:
    return torch.cat([network.features(_scaled(part)) for part in pixels.split(_ROWS_AT_ONCE)])


def _scaled(pixels: Tensor) -> Tensor:
    return pixels.float() / 127.5 - 1


@contextmanager
def _threads(count: int) -> Iterator[None]:
    """Sums depend on the number of threads, so the machine's must not choose it."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
