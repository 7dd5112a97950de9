"""Networks for rows of mixed columns in the form of TableCodec: what goes in, and likelihoods of what comes out.

Shapes: codes (rows, parts) int64, values (rows, parts) float, seen (rows, parts) bool. A part that is not seen is hidden from the network.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from synthmill.codecs.table import Part

_LOG_SCALE = (-7.0, 3.0)  # of values that are standard normal: from a thousandth to far beyond their range
_HALF_LOG_TAU = 0.5 * math.log(2 * math.pi)


def initialise(network: nn.Module, generator: torch.Generator) -> None:
    """Normal weights of variance 1 / fan-in and zero biases, from `generator` alone; norms keep their ones."""
    for module in network.modules():
        if isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=module.in_features**-0.5, generator=generator)
            nn.init.zeros_(module.bias)
        elif isinstance(module, RowEmbedding):
            nn.init.normal_(module.codes, std=0.5, generator=generator)
            nn.init.normal_(module.values, std=0.5, generator=generator)


class RowEmbedding(nn.Module):
    """The sum of one vector a part -> (rows, width): its code's, moved along the part's direction by its normal score, or `hidden`."""

    def __init__(self, parts: Sequence[Part], width: int) -> None:
        super().__init__()
        sizes = torch.tensor([part.size for part in parts])
        self.codes = nn.Parameter(torch.empty(int((sizes + 1).sum()), width))  # one more a part: hidden
        self.values = nn.Parameter(torch.empty(len(parts), width))
        scores = [score for part in parts for score in (*part.scores, 0.0)]
        self.register_buffer("scores", torch.tensor(scores, dtype=torch.float32)[:, None], persistent=False)
        self.register_buffer("part_of", torch.arange(len(parts)).repeat_interleave(sizes + 1), persistent=False)
        self.register_buffer("hidden", sizes, persistent=False)
        self.register_buffer("starts", torch.cumsum(sizes + 1, 0) - sizes - 1, persistent=False)
        free = [-1 if part.free is None else part.free for part in parts]
        self.register_buffer("free", torch.tensor(free), persistent=False)

    def forward(self, codes: Tensor, values: Tensor, seen: Tensor) -> Tensor:
        """What is seen of the rows; values count under the code `free` alone."""
        vectors = self.codes + self.scores * self.values[self.part_of]
        rows_of = torch.where(seen, codes, self.hidden) + self.starts
        free_values = values * (seen & (codes == self.free))
        return F.embedding_bag(rows_of, vectors, mode="sum") + free_values @ self.values


class Residual(nn.Module):
    """x + W2 silu(W1 norm(x)), `depth` times; (rows, width) -> (rows, width)."""

    def __init__(self, width: int, depth: int) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.LayerNorm(width), nn.Linear(width, width), nn.SiLU(), nn.Linear(width, width))
            for _ in range(depth)
        )

    def forward(self, x: Tensor) -> Tensor:
        for block in self.blocks:
            x = x + block(x)
        return x


class RowLikelihood(nn.Module):
    """Given a vector a row: a categorical of each part's code, and a mixture of normals of each value that counts."""

    def __init__(self, parts: Sequence[Part], width: int, components: int = 10) -> None:
        super().__init__()
        self.parts = tuple(parts)
        self.sizes = [part.size for part in parts]
        self.free = [j for j, part in enumerate(parts) if part.free is not None]
        self.norm = nn.LayerNorm(width)
        self.logits = nn.Linear(width, sum(self.sizes))
        self.mixtures = nn.Linear(width, len(self.free) * 3 * components) if self.free else None

    def forward(self, hidden: Tensor) -> tuple[list[Tensor], Tensor | None]:
        """Logits of each part, (rows, size); mixtures (rows, free parts, 3, components): logits, means, log scales."""
        hidden = F.silu(self.norm(hidden))
        logits = list(self.logits(hidden).float().split(self.sizes, 1))
        if self.mixtures is None:
            return logits, None
        return logits, self.mixtures(hidden).float().unflatten(1, (len(self.free), 3, -1))

    def log_prob(self, hidden: Tensor, codes: Tensor, values: Tensor) -> Tensor:
        """Log likelihood of each part, in nats: (rows, parts)."""
        logits, mixtures = self(hidden)
        parts = [-F.cross_entropy(part, codes[:, j], reduction="none") for j, part in enumerate(logits)]
        if mixtures is not None:
            weights, means, log_scales = _mixture(mixtures)
            deviations = (values[:, self.free, None] - means) * torch.exp(-log_scales)
            log_normal = -0.5 * deviations.square() - log_scales - _HALF_LOG_TAU
            of_values = torch.logsumexp(weights + log_normal, 2)  # (rows, free parts)
            for i, j in enumerate(self.free):
                parts[j] = parts[j] + of_values[:, i] * (codes[:, j] == self.parts[j].free)
        return torch.stack(parts, 1)

    def sample(self, hidden: Tensor, uniforms: Tensor, normals: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
        """Codes and values (rows, parts); `uniforms` (rows, 2 parts) choose codes, then components; `normals` (rows, parts)."""
        logits, mixtures = self(hidden)
        choices = uniforms.split(len(self.parts), 1)
        codes = torch.stack([invert(part / temperature, choices[0][:, j]) for j, part in enumerate(logits)], 1)
        values = torch.zeros_like(normals)
        if mixtures is not None:
            weights, means, log_scales = _mixture(mixtures)
            for i, j in enumerate(self.free):
                chosen = invert(weights[:, i] / temperature, choices[1][:, j])[:, None]
                mean, log_scale = means[:, i].gather(1, chosen)[:, 0], log_scales[:, i].gather(1, chosen)[:, 0]
                values[:, j] = mean + torch.exp(log_scale) * temperature * normals[:, j]
        return codes, values


def invert(logits: Tensor, uniforms: Tensor) -> Tensor:
    """One draw a row from a categorical by inverting its distribution function: (rows, size), (rows,) -> (rows,)."""
    if logits.shape[1] == 1:
        return torch.zeros(len(logits), dtype=torch.int64, device=logits.device)
    cumulative = torch.softmax(logits, 1).cumsum(1)[:, :-1]
    return (uniforms[:, None] > cumulative).sum(1)


def _mixture(raw: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    logits, means, log_scales = raw.unbind(2)
    return torch.log_softmax(logits, 2), means, log_scales.clamp(*_LOG_SCALE)
