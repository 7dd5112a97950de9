"""table/vae's own: a bound that is one, draws that follow it, a latent that is used and that given cells tell of.

What it shares with all generators of tables is in tests/contract/test_table_generators.py.
"""

from __future__ import annotations

import math

import numpy as np
import pyarrow as pa
import pytest
import torch

from generators.nets.autoregressive import Uniforms
from generators.nets.tokens import RowTokens, Vocabulary, row_tokens
from generators.nets.vaeac import Noise, Vaeac, initialised
from generators.table.vae import VAE
from synthmill.codecs.table import Part
from synthmill.columns import Column, Schema
from synthmill.generator import TrainData
from synthmill.seeds import normals, uniforms

ROWS = 600
DRAWS = 20_000


def network_of(columns: int) -> Vaeac:
    """Random weights over columns of three labels each, under which the latent matters."""
    words = tuple(Vocabulary(Part(str(j), 3, None, (0.0,) * 3), None) for j in range(columns))
    network = initialised(words, seed=1, width=16, depth=1, latent=2, dropout=0.5)
    with torch.no_grad():
        network.from_latent.weight.mul_(8)
    return network


def tokens(network: Vaeac, labels: torch.Tensor) -> RowTokens:
    return row_tokens(network.decoder.words, labels, torch.zeros(labels.shape, dtype=torch.float64))


def noise(rows: int, columns: int, latent: int) -> Noise:
    candidates = np.arange(rows)
    of_parts = Uniforms(*(torch.from_numpy(uniforms(7, candidates, step, columns)) for step in range(3)))
    return Noise(of_parts, torch.from_numpy(normals(7, candidates, 3, latent)).float())


@torch.no_grad()
def test_the_bound_lies_below_the_likelihood_and_what_is_drawn_follows_it() -> None:
    network = network_of(columns=1)
    hidden = torch.zeros(DRAWS, 1, dtype=torch.bool)
    blank = tokens(network, torch.zeros(DRAWS, 1, dtype=torch.int64))
    made, _ = network.sample(blank, hidden, noise(DRAWS, 1, 2), temperature=1.0)
    shares = torch.bincount(made[:, 0], minlength=3) / DRAWS

    rows = tokens(network, torch.arange(3).repeat_interleave(DRAWS)[:, None])
    ranks = torch.zeros(len(rows), 1, dtype=torch.int64)
    logs, divergence = network.bound(rows, ranks, torch.Generator().manual_seed(0), trains=False)
    log_weights = (logs[:, 0] - divergence).reshape(3, DRAWS)
    likelihoods = log_weights.logsumexp(1).sub(math.log(DRAWS)).exp()  # importance sampling by the proposal
    assert likelihoods.sum().item() == pytest.approx(1, abs=0.02)
    assert torch.allclose(likelihoods, shares, atol=0.02)
    assert (log_weights.mean(1) < likelihoods.log() - 0.01).all()


@torch.no_grad()
def test_a_given_cell_moves_the_latent_of_its_row_alone() -> None:
    network = network_of(columns=2)
    seen = torch.zeros(4, 2, dtype=torch.bool)
    seen[2:, 0] = True
    given = tokens(network, torch.tensor([[0, 0], [2, 0], [0, 0], [2, 0]]))
    same = Noise(Uniforms(*[torch.full((4, 2), 0.5, dtype=torch.float64)] * 3), torch.ones(4, 2))
    latents = []
    network.from_latent.register_forward_pre_hook(lambda _, inputs: latents.append(inputs[0]))
    network.sample(given, seen, same, temperature=1.0)
    assert torch.equal(latents[0][0], latents[0][1]), "what is not given is not looked at"
    assert not torch.allclose(latents[0][0], latents[0][2])
    assert not torch.allclose(latents[0][2], latents[0][3])


def test_a_fit_uses_its_latent() -> None:
    """Left to itself, a decoder that sees the columns before does without (0.01 nats): so at first what it holds is free."""
    random = np.random.default_rng(0)
    names = list("abcdef")
    hidden = random.normal(size=(ROWS, 1))
    values = hidden + random.normal(size=(ROWS, len(names)))
    schema = Schema(columns=tuple(Column(name=name, kind="number", dtype="double") for name in names))
    data = TrainData(pa.table(dict(zip(names, values.T, strict=True)), schema=schema.arrow), schema)
    model = VAE(VAE.Params(steps=100, width=32, latent=4, batch=128))
    model.fit(data, seed=0, device="cpu", progress=lambda step, steps, loss: None)
    network = model._network
    encoded = model._codec.encode(data.table)
    rows = row_tokens(network.decoder.words, encoded.codes, encoded.values)
    with torch.no_grad():
        ranks = network.places.expand(ROWS, -1)
        _, divergence = network.bound(rows, ranks, torch.Generator().manual_seed(0), trains=False)
    assert divergence.mean() > 0.25


def test_only_temperature_and_tries_are_left_out_of_the_fit() -> None:
    assert VAE.Params.sampling_only() == {"temperature", "tries"}
