"""The networks of a mixed-type diffusion: one unmasks codes, the other denoises normal scores; see generators/table/diffusion.py.

Shapes: codes are (rows, parts), scores (rows, ordered) with a column for each part that is ordered: atoms, other numbers or both.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from generators.nets.autoregressive import Block, Stacked, features
from synthmill.codecs.table import Part

_CURVES = 17  # features of a score in the unmasker
_WAVES = 16  # frequencies of a score's periodic features in the denoiser
_LEVELS = 16  # frequencies of a noise level's


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows on their way from noise to data."""

    codes: Tensor  # (rows, parts), int64
    scores: Tensor  # (rows, ordered), float32, with noise or as they are; 0 where the code is missing
    clean: Tensor  # (rows, ordered), bool: the score is known, without noise

    def __len__(self) -> int:
        return len(self.codes)

    def take(self, rows: Tensor) -> Rows:
        """Some of the rows."""
        return Rows(self.codes[rows], self.scores[rows], self.clean[rows])


class Unmasker(nn.Module):
    """p(code | cells that are seen) of each part in `told`, by a small network of its own on the sum of these cells' vectors."""

    starts: Tensor  # (parts,), where a part's codes begin
    ordered: Tensor  # parts that are ordered

    def __init__(
        self, parts: Sequence[Part], ordered: Sequence[int], told: Sequence[int], *, width: int, dropout: float
    ) -> None:
        super().__init__()
        sizes = torch.tensor([part.size for part in parts])
        self.codes = nn.Parameter(torch.empty(int(sizes.sum()), 2 * width))
        self.curves = nn.Parameter(torch.empty(len(ordered), _CURVES, 2 * width))
        self.entry = Stacked(len(told), 2 * width, width)
        self.block = Block(len(told), width, dropout)
        self.heads = nn.ModuleList(nn.Linear(width, parts[j].size) for j in told)
        self.register_buffer("starts", torch.cumsum(sizes, 0) - sizes, persistent=False)
        self.register_buffer("ordered", torch.tensor(ordered, dtype=torch.int64), persistent=False)

    def cells(self, rows: Rows) -> Tensor:
        """A vector a cell, (rows, parts, 2 width): its code's, and for scores that are known a curve over them."""
        vectors = F.embedding(rows.codes + self.starts, self.codes)
        curves = features(rows.scores).transpose(0, 1) @ self.curves  # (ordered, rows, 2 width)
        known = curves.transpose(0, 1) * rows.clean[..., None]
        return vectors.index_add(1, self.ordered, known.to(vectors.dtype))

    def forward(self, rows: Rows, sees: Tensor, draw: torch.Generator | None) -> list[Tensor]:
        """Logits (rows, size) of each part told, which `sees` (rows, told, parts) these cells; `draw` drops units, as in training."""
        context = sees.float() @ self.cells(rows)
        hidden = F.silu(_normed(self.block(self.entry(context.transpose(0, 1)), draw)))
        return [head(own).float() for head, own in zip(self.heads, hidden, strict=True)]

    def of(self, places: Sequence[int], rows: Rows, known: Tensor) -> list[Tensor]:
        """Logits (rows, size) of the parts told at `places`, all of which see the `known` cells (rows, parts)."""
        context = (self.cells(rows) * known[..., None]).sum(1)
        entering = [self.block.of(i, self.entry.of(i, context)) for i in places]
        return [self.heads[i](F.silu(_normed(x))).float() for i, x in zip(places, entering, strict=True)]


class RowFeatures(nn.Module):
    """One vector a row: the sum of its codes' vectors, and a linear map of periodic features of its scores.

    Their frequencies are learned, as in Gorishniy, Rubachev and Babenko, "On embeddings for numerical features in tabular deep
    learning" (NeurIPS 2022).
    """

    starts: Tensor  # (parts,), where a part's codes begin

    def __init__(self, parts: Sequence[Part], ordered: int, width: int) -> None:
        super().__init__()
        sizes = torch.tensor([part.size for part in parts])
        self.codes = nn.Parameter(torch.empty(int(sizes.sum()), width))
        self.frequencies = nn.Parameter(torch.empty(ordered, _WAVES))
        self.enter = nn.Parameter(torch.empty((2 * _WAVES + 2) * ordered, width))
        self.register_buffer("starts", torch.cumsum(sizes, 0) - sizes, persistent=False)

    def forward(self, codes: Tensor, scores: Tensor, clean: Tensor) -> Tensor:
        """(rows, width)."""
        phases = scores[..., None] * self.frequencies
        of_scores = torch.cat([scores, phases.sin().flatten(1), phases.cos().flatten(1), clean.float()], 1)
        return of_scores @ self.enter + F.embedding(codes + self.starts, self.codes).sum(1)


class Denoiser(nn.Module):
    """D(x; sigma), the expected scores given noisy ones: EDM's preconditioning at unit variance.

    Karras et al., "Elucidating the design space of diffusion-based generative models" (NeurIPS 2022), table 1.
    """

    reach: Tensor  # (levels,)
    free: Tensor  # (numbers,), places among the ordered parts

    def __init__(self, parts: Sequence[Part], ordered: int, free: Sequence[int], *, width: int, depth: int) -> None:
        super().__init__()
        self.features = RowFeatures(parts, ordered, width)
        self.level = nn.Sequential(nn.Linear(2 * _LEVELS, width), nn.SiLU(), nn.Linear(width, width))
        self.rise = nn.ModuleList(nn.Linear(width, 2 * width) for _ in range(depth))
        self.fall = nn.ModuleList(nn.Linear(2 * width, width) for _ in range(depth))
        self.head = nn.Linear(width, len(free))
        self.register_buffer("reach", torch.exp(torch.linspace(-2, 3, _LEVELS)), persistent=False)
        self.register_buffer("free", torch.tensor(free, dtype=torch.int64), persistent=False)

    def forward(self, rows: Rows, sigma: Tensor) -> Tensor:
        """Expected scores (rows, numbers) of the parts `free`; `sigma` (rows, 1) is the standard deviation of the noise."""
        scale = torch.rsqrt(1 + sigma.square())  # c_in; also c_out / sigma, and its square c_skip
        phases = sigma.log() / 4 * self.reach
        level = self.level(torch.cat([phases.sin(), phases.cos()], 1))
        x = self.features(rows.codes, torch.where(rows.clean, rows.scores, rows.scores * scale), rows.clean)
        for rise, fall in zip(self.rise, self.fall, strict=True):
            x = x + fall(F.silu(rise(_normed(x) + level)))
        change = self.head(F.silu(_normed(x))).float()
        return scale.square() * rows.scores[:, self.free] + sigma * scale * change


def initialise(network: nn.Module, generator: torch.Generator) -> None:
    """Normal weights from `generator` alone: variance 1 / fan-in, less for heads, which start nearly even."""
    for name, weight in network.named_parameters():
        if name.endswith("bias"):
            nn.init.zeros_(weight)
        elif name.endswith((".codes", ".curves")):
            _normal(weight, 0.3, generator)
        elif name.endswith(".frequencies"):
            _normal(weight, 2.0, generator)
        elif name.endswith(".enter"):
            _normal(weight, max(1, len(weight)) ** -0.5, generator)
        else:
            share = 0.5 if ".heads." in name else 0.1 if ".head." in name else 1.0
            _normal(weight, share * weight.shape[1] ** -0.5, generator)


@torch.no_grad()
def _normal(weight: Tensor, std: float, generator: torch.Generator) -> None:
    weight.copy_(std * torch.randn(weight.shape, generator=generator))


def _normed(x: Tensor) -> Tensor:
    return F.layer_norm(x, x.shape[-1:])
