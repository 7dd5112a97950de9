"""The fit of a column-autoregressive network under differential privacy: noisy counts for the codec, then DP-SGD.

Nothing else is read off train: labels and bounds are the recipe's, the number of rows is a noisy one, and steps are fixed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from generators.nets.autoregressive import Autoregressive, initialise, random_ranks
from generators.nets.private import MOST_RATE, Mechanism, PrivateLearner, Secret, asking_noise, calibrate
from generators.nets.tokens import Bins, Vocabulary, row_tokens
from generators.nets.training import Budget, train
from synthmill.codecs.private import Counts, ask, make_codec, sensitivity
from synthmill.codecs.table import Part, TableCodec
from synthmill.generator import Checkpoint, FitProgress, FitReport, Privacy, Promise, TrainData

_BINS = 64
_OUTERMOST = 3.0  # normal score; beyond lie a few rows in ten thousand
PRIVATE_STEPS = 800
_BATCH = 1024  # rows of a step on average; large ones drown less in noise
_LEARNING_RATE = 0.02  # ten times that of a fit without noise: few steps have to go far


@dataclass(frozen=True, slots=True)
class Spending:
    """How a promise is kept."""

    promise: Promise
    max_grad_norm: float
    steps: int | None = None


def fit_privately(
    data: TrainData,
    spending: Spending,
    make_network: Callable[[Sequence[Vocabulary]], Autoregressive],
    *,
    device: str,
    progress: FitProgress,
    checkpoint: Checkpoint,
) -> tuple[TableCodec, Autoregressive, FitReport]:
    """A codec and a network that one row of train hardly changes."""
    assert data.secret is not None, "the engine gives one wherever a generator promises an epsilon"
    secret = Secret(data.secret)
    codec, rows, asking = _ask(data, spending.promise, secret)
    words = vocabularies(codec.parts)
    network = make_network(words)
    initialise(network, torch.Generator().manual_seed(secret.number("weights")))
    encoded = codec.encode(data.table)
    tokens = row_tokens(words, encoded.codes, encoded.values).to(device)
    network.to(device)

    def row_losses(taken: Tensor, draw: torch.Generator) -> Tensor:
        ranks = random_ranks(network.places, len(taken), draw)
        is_made = ranks >= 0
        logs = network.log_prob(tokens.take(taken.to(device)), ranks)
        return -(logs * is_made).sum(1) / is_made.sum(1).clamp(min=1)

    mechanism = calibrate(
        spending.promise,
        asking=asking,
        sample_rate=min(MOST_RATE, _BATCH / rows),
        steps=spending.steps or PRIVATE_STEPS,
    )
    learner = PrivateLearner(
        network,
        row_losses,
        len(tokens),
        mechanism,
        secret,
        max_grad_norm=spending.max_grad_norm,
        learning_rate=_LEARNING_RATE,
    )
    report = train(learner, Budget(mechanism.steps), name="table/llm", progress=progress, checkpoint=checkpoint)
    privacy = _privacy(mechanism, spending.promise.delta, report.steps)
    kept = learner.average
    return codec, kept, FitReport(report.steps, report.stopped_by, report.losses, privacy)


def _ask(data: TrainData, promise: Promise, secret: Secret) -> tuple[TableCodec, float, float]:
    """The codec, the noisy number of rows, and the noise of the counts in units of their sensitivity."""
    noise = asking_noise(promise)
    deviation = noise * sensitivity(data.schema)

    def noisy(question: str, counts: Counts) -> Counts:
        return np.asarray(counts + deviation * secret.normals(f"counts/{question}", len(counts)))

    answers = ask(data.table, data.schema, noisy, deviation)
    return make_codec(data.schema, answers, deviation), max(answers.rows, 1.0), noise


def vocabularies(parts: Sequence[Part]) -> tuple[Vocabulary, ...]:
    """Tokens whose bins are even in rank by the codec's own map."""
    return tuple(Vocabulary(part, None if part.free is None else _even_bins()) for part in parts)


def _even_bins() -> Bins:
    edges = torch.special.ndtri(torch.arange(1, _BINS, dtype=torch.float64) / _BINS)
    low, high = edges.new_tensor([-_OUTERMOST]), edges.new_tensor([_OUTERMOST])
    return Bins(edges, torch.cat([low, edges]), torch.cat([edges, high]))


def _privacy(mechanism: Mechanism, delta: float, steps: int) -> Privacy:
    return Privacy(
        epsilon=mechanism.epsilon(delta, steps),
        delta=delta,
        mechanism="a Gaussian release of counts, then DP-SGD (Poisson sampling, gradients clipped by row, Gaussian noise)",
        accountant="RDP (opacus)",
        noise_multipliers={"counts": mechanism.asking_noise, "gradients": mechanism.noise},
        sample_rate=mechanism.sample_rate,
        steps=steps,
    )
