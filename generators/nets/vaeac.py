"""The networks of a variational autoencoder with arbitrary conditioning over mixed columns; see generators/table/vae.py.

Shapes as in mixed.py: codes, values and seen are (rows, parts).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from generators.nets.mixed import Residual, RowEmbedding, RowLikelihood, RowNoise, invert
from synthmill.codecs.table import Part

_LOG_STD = (-6.0, 2.0)  # bounds in the latent space


@dataclass(frozen=True, slots=True)
class Noise:
    """All that is random in one micro-batch."""

    parts: RowNoise
    priors: Tensor  # (rows, rounds), uniform: choose a component of the prior
    latents: Tensor  # (rows, rounds, latent), normal


class Vaeac(nn.Module):
    """Prior p(z | seen), proposal q(z | row, seen) and decoder p(hidden parts | z, seen).

    `rounds` partitions the parts: the parts of one round are made together, given those of the rounds before.
    """

    round_of: Tensor

    def __init__(
        self,
        parts: Sequence[Part],
        rounds: Sequence[Sequence[int]],
        *,
        width: int,
        depth: int,
        latent: int,
        components: int,
    ) -> None:
        super().__init__()
        self.rounds = rounds
        self.shape = (components, latent)
        round_of = torch.tensor([next(r for r, js in enumerate(rounds) if j in js) for j in range(len(parts))])
        self.register_buffer("round_of", round_of, persistent=False)
        self.seen = RowEmbedding(parts, width)
        self.trunk = Residual(width, 1)
        self.prior = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, components * (1 + 2 * latent)))
        self.row = RowEmbedding(parts, width)
        self.row_seen = nn.Linear(len(parts), width)
        self.proposal = nn.Sequential(Residual(width, depth), nn.LayerNorm(width), nn.Linear(width, 2 * latent))
        self.from_latent = nn.Linear(latent, width)
        self.decoder = Residual(width, depth)
        self.likelihood = RowLikelihood(parts, width)

    def loss(self, codes: Tensor, values: Tensor, draw: torch.Generator) -> Tensor:
        """Negative evidence lower bound of the parts that a random mask hides, in nats a part; one draw of z for the KL."""
        seen = self._random_seen(codes, draw)
        hidden = self.trunk(self.seen(codes, values, seen))
        whole = self.row(codes, values, torch.ones_like(seen)) + self.row_seen(seen.float())
        mean, log_std = self.proposal(whole).float().chunk(2, 1)
        log_std = log_std.clamp(*_LOG_STD)
        epsilon = torch.randn(mean.shape, generator=draw, device=mean.device)
        z = mean + log_std.exp() * epsilon
        log_q = (-0.5 * epsilon.square() - log_std).sum(1)
        weights, means, log_stds = self._prior(hidden)
        deviations = (z[:, None] - means) * torch.exp(-log_stds)
        log_p = torch.logsumexp(weights + (-0.5 * deviations.square() - log_stds).sum(2), 1)
        log_parts = self.likelihood.log_prob(self.decoder(hidden + self.from_latent(z)), codes, values)
        return (log_q - log_p - (log_parts * ~seen).sum(1)).mean() / codes.shape[1]

    def sample(
        self, codes: Tensor, values: Tensor, seen: Tensor, noise: Noise, temperature: float
    ) -> tuple[Tensor, Tensor]:
        """Codes and values with the parts that are not `seen` filled in, round by round."""
        for r, parts in enumerate(self.rounds):
            hidden = self.trunk(self.seen(codes, values, seen))
            weights, means, log_stds = self._prior(hidden)
            chosen = invert(weights / temperature, noise.priors[:, r])[:, None, None].expand(-1, 1, means.shape[2])
            mean, std = means.gather(1, chosen)[:, 0], log_stds.gather(1, chosen)[:, 0].exp()
            z = mean + std * temperature * noise.latents[:, r]
            decoded = self.likelihood.hidden(self.decoder(hidden + self.from_latent(z)))
            made = [self.likelihood.sample(decoded, j, noise.parts, temperature) for j in parts]
            new = ~seen[:, parts]
            codes = _filled(codes, parts, new, torch.stack([code for code, _ in made], 1))
            values = _filled(values, parts, new, torch.stack([value for _, value in made], 1))
            seen = _filled(seen, parts, new, new)
        return codes, values

    def _prior(self, hidden: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Log weights (rows, components), means and log standard deviations (rows, components, latent)."""
        components, latent = self.shape
        weights, normals = self.prior(hidden).float().split([components, 2 * components * latent], 1)
        means, log_stds = normals.unflatten(1, (2, components, latent)).unbind(1)
        return torch.log_softmax(weights, 1), means, log_stds.clamp(*_LOG_STD)

    def _random_seen(self, codes: Tensor, draw: torch.Generator) -> Tensor:
        """What sampling meets: all parts of the rounds before a random one, and for half of the rows a random set of given parts."""
        rows, parts = codes.shape
        device = codes.device
        before = torch.randint(len(self.rounds), (rows, 1), generator=draw, device=device)
        # Squared, because recipes give one column or two and rarely most.
        few = torch.rand((rows, 1), generator=draw, device=device).square()
        given = (1 + few * (parts - 1)).long() * torch.randint(2, (rows, 1), generator=draw, device=device)
        rank = torch.rand((rows, parts), generator=draw, device=device).argsort(1)
        return (self.round_of < before) | (rank < given)


def _filled(whole: Tensor, parts: Sequence[int], new: Tensor, made: Tensor) -> Tensor:
    """A copy of `whole` with the cells of `parts` that are `new` taken from `made`."""
    index = list(parts)
    filled = whole.clone()
    filled[:, index] = torch.where(new, made.to(whole.dtype), whole[:, index])
    return filled
