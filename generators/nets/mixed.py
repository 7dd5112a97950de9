"""Networks for rows of mixed columns in the form of TableCodec: what goes in, and likelihoods of what comes out.

Shapes: codes (rows, parts) int64, values (rows, parts) float, seen (rows, parts) bool. A part that is not seen is hidden from the network.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

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

    scores: Tensor  # (codes, 1), one row more a part: hidden
    part_of: Tensor  # (codes,)
    hidden: Tensor  # (parts,), the code that stands for hidden
    starts: Tensor  # (parts,), where a part's codes begin
    free: Tensor  # (parts,), -1 where there is none

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
        """All blocks in turn."""
        for block in self.blocks:
            x = x + block(x)
        return x


@dataclass(frozen=True, slots=True)
class RowNoise:
    """What one draw of all parts needs."""

    codes: Tensor  # (rows, parts), uniform: choose codes
    components: Tensor  # (rows, parts), uniform: choose components of the mixtures of values
    values: Tensor  # (rows, parts), normal


class RowLikelihood(nn.Module):
    """Given a vector a row: a categorical of each part's code, and a mixture of normals of each value that counts."""

    def __init__(self, parts: Sequence[Part], width: int, components: int = 10) -> None:
        super().__init__()
        self.components = components
        self.sizes = [part.size for part in parts]
        self.free = {j: part.free for j, part in enumerate(parts) if part.free is not None}
        self.norm = nn.LayerNorm(width)
        self.logits = nn.ModuleList(nn.Linear(width, size) for size in self.sizes)
        self.mixtures = nn.ModuleDict({str(j): nn.Linear(width, 3 * components) for j in self.free})

    def hidden(self, decoded: Tensor) -> Tensor:
        """What all heads read."""
        return F.silu(self.norm(decoded))

    def log_prob(self, decoded: Tensor, codes: Tensor, values: Tensor) -> Tensor:
        """Log likelihood of each part, in nats: (rows, parts)."""
        hidden = self.hidden(decoded)
        log_parts = []
        for j, head in enumerate(self.logits):
            log_part = -F.cross_entropy(head(hidden).float(), codes[:, j], reduction="none")
            if j in self.free:
                log_part = log_part + self._log_values(hidden, j, values[:, j]) * (codes[:, j] == self.free[j])
            log_parts.append(log_part)
        return torch.stack(log_parts, 1)

    def sample(self, hidden: Tensor, j: int, noise: RowNoise, temperature: float) -> tuple[Tensor, Tensor]:
        """Codes and values, each (rows,), of part `j`."""
        codes = invert(self.logits[j](hidden).float() / temperature, noise.codes[:, j])
        if j not in self.free:
            return codes, torch.zeros_like(noise.values[:, j])
        weights, means, log_scales = self._mixture(hidden, j)
        chosen = invert(weights / temperature, noise.components[:, j])[:, None]
        mean, scale = means.gather(1, chosen)[:, 0], log_scales.gather(1, chosen)[:, 0].exp()
        return codes, mean + scale * temperature * noise.values[:, j]

    def _log_values(self, hidden: Tensor, j: int, values: Tensor) -> Tensor:
        weights, means, log_scales = self._mixture(hidden, j)
        deviations = (values[:, None] - means) * torch.exp(-log_scales)
        return torch.logsumexp(weights - 0.5 * deviations.square() - log_scales, 1) - _HALF_LOG_TAU

    def _mixture(self, hidden: Tensor, j: int) -> tuple[Tensor, Tensor, Tensor]:
        """Log weights, means and log scales, each (rows, components)."""
        logits, means, log_scales = self.mixtures[str(j)](hidden).float().chunk(3, 1)
        return torch.log_softmax(logits, 1), means, log_scales.clamp(*_LOG_SCALE)


def invert(logits: Tensor, uniforms: Tensor) -> Tensor:
    """One draw a row from a categorical by inverting its distribution function: (rows, size), (rows,) -> (rows,)."""
    if logits.shape[1] == 1:
        return torch.zeros(len(logits), dtype=torch.int64, device=logits.device)
    cumulative = torch.softmax(logits, 1).cumsum(1)[:, :-1]
    return (uniforms[:, None] > cumulative).sum(1)
