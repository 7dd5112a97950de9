"""The networks of a variational autoencoder with arbitrary conditioning and an autoregressive decoder; see generators/table/vae.py.

Shapes: tokens and ranks are (rows, parts); cells of rank -1 are given.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from generators.nets.autoregressive import Autoregressive, CellEmbedding, Uniforms, initialise
from generators.nets.coupling import CouplingFlow
from generators.nets.possible import EVERYTHING, Possible
from generators.nets.tokens import RowTokens, Vocabulary

_HALF_LOG_TAU = 0.5 * math.log(2 * math.pi)
_LOG_STD = (-6.0, 2.0)  # bounds of the proposal's log standard deviations
_COUPLINGS, _HIDDEN = 4, 64  # of the prior's flow


@dataclass(frozen=True, slots=True)
class Noise:
    """All that is random in one micro-batch."""

    parts: Uniforms
    latents: Tensor  # (rows, latent), normal


class Vaeac(nn.Module):
    """Prior p(z | given), proposal q(z | row, given) and decoder p(column | z, given, columns before it)."""

    def __init__(self, words: Sequence[Vocabulary], *, width: int, depth: int, latent: int, dropout: float) -> None:
        super().__init__()
        self.decoder = Autoregressive(words, width=width, depth=depth, dropout=dropout)
        self.from_latent = nn.Linear(latent, 2 * width)
        self.cells = CellEmbedding(words, 2 * width)
        self.proposal = nn.Sequential(
            nn.Linear(4 * width, 2 * width),
            nn.LayerNorm(2 * width),
            nn.SiLU(),
            nn.Linear(2 * width, width),
            nn.SiLU(),
            nn.Linear(width, 2 * latent),
        )
        self.context = nn.Sequential(nn.Linear(2 * width, width), nn.LayerNorm(width), nn.SiLU())
        self.prior = CouplingFlow(latent, width, couplings=_COUPLINGS, hidden=_HIDDEN)

    @property
    def places(self) -> Tensor:
        """The order in which columns are made, (parts,)."""
        return self.decoder.places

    def bound(
        self, rows: RowTokens, ranks: Tensor, draw: torch.Generator, *, trains: bool = True, blur: float = 0.0
    ) -> tuple[Tensor, Tensor]:
        """Of the evidence lower bound, in nats: each cell's log likelihood (rows, parts), and log q - log p of one draw of z (rows,).

        Where it `trains`, units are dropped and bins blurred, as in Autoregressive.log_prob.
        """
        given = self._given(rows, ranks < 0)
        whole = self.cells(rows.first, rows.scores).sum(1)
        mean, log_std = self.proposal(torch.cat([given, whole], 1)).float().chunk(2, 1)
        log_std = log_std.clamp(*_LOG_STD)
        epsilon = torch.randn(mean.shape, generator=draw, device=mean.device)
        z = mean + log_std.exp() * epsilon
        log_q = -(0.5 * epsilon.square() + log_std + _HALF_LOG_TAU).sum(1)
        log_parts = self.decoder.log_prob(
            rows, ranks, beside=self.from_latent(z), draw=draw if trains else None, blur=blur
        )
        context = self.context(given).float()
        with torch.autocast(z.device.type, enabled=False):  # a density keeps its digits
            log_p = self.prior.log_density(z, context)
        return log_parts, log_q - log_p

    def sample(
        self, given: RowTokens, seen: Tensor, noise: Noise, *, possible: Possible = EVERYTHING, temperature: float
    ) -> tuple[Tensor, Tensor]:
        """Codes and values (rows, parts) of what is not `seen`; where it is, they mean nothing."""
        context = self.context(self._given(given, seen)).float()
        with torch.autocast(context.device.type, enabled=False):
            z = self.prior.draw(temperature * noise.latents, context)
        beside = self.from_latent(z)
        return self.decoder.sample(given, seen, noise.parts, possible=possible, beside=beside, temperature=temperature)

    def _given(self, rows: RowTokens, seen: Tensor) -> Tensor:
        """The sum of the cells that are `seen`, (rows, 2 width)."""
        return (seen[..., None] * self.decoder.cells(rows.first, rows.scores)).sum(1)


def initialised(
    words: Sequence[Vocabulary], seed: int, *, width: int, depth: int, latent: int, dropout: float
) -> Vaeac:
    """A new network, its weights from `seed` alone: torch's own where layers have such, cells and decoder as table/llm's."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = Vaeac(words, width=width, depth=depth, latent=latent, dropout=dropout)
    draw = torch.Generator().manual_seed(seed)
    initialise(network.decoder, draw)
    for weight in network.cells.parameters():
        nn.init.normal_(weight, std=0.3, generator=draw)
    return network
