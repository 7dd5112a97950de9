"""The networks of a mixed-type diffusion: one unmasks codes, the other denoises normal scores; see generators/table/diffusion.py.

Shapes: codes are (rows, parts), scores (rows, ordered) with a column for each part that is ordered: atoms, other numbers or both.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from synthmill.codecs.table import Part

_WAVES = 16  # frequencies of a score's periodic features
_LEVELS = 16  # frequencies of a noise level's


@dataclass(frozen=True, slots=True)
class State:
    """Rows on their way from noise to data: what a network sees of them."""

    codes: Tensor  # (rows, parts), int64; the part's size where the code is masked
    scores: Tensor  # (rows, ordered), float32; 0 where there is nothing to see
    clean: Tensor  # (rows, ordered), bool: the score is free of noise


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows as they are."""

    codes: Tensor  # (rows, parts), int64
    scores: Tensor  # (rows, ordered), float32; 0 where the code is missing

    def __len__(self) -> int:
        return len(self.codes)

    def take(self, rows: Tensor) -> Rows:
        """Some of the rows."""
        return Rows(self.codes[rows], self.scores[rows])

    def to(self, device: torch.device | str) -> Rows:
        """The same on another device."""
        return Rows(self.codes.to(device), self.scores.to(device))


class RowFeatures(nn.Module):
    """One vector a row: the sum of its codes' vectors, and a linear map of periodic features of its scores.

    Their frequencies are learned, as in Gorishniy, Rubachev and Babenko, "On embeddings for numerical features in tabular deep
    learning" (NeurIPS 2022).
    """

    starts: Tensor  # (parts,), where a part's codes begin

    def __init__(self, parts: Sequence[Part], ordered: int, width: int) -> None:
        super().__init__()
        sizes = torch.tensor([part.size + 1 for part in parts])
        self.codes = nn.Parameter(torch.empty(int(sizes.sum()), width))
        self.frequencies = nn.Parameter(torch.empty(ordered, _WAVES))
        self.enter = nn.Parameter(torch.empty((2 * _WAVES + 2) * ordered, width))
        self.register_buffer("starts", torch.cumsum(sizes, 0) - sizes, persistent=False)

    def forward(self, state: State) -> Tensor:
        """(rows, width)."""
        phases = state.scores[..., None] * self.frequencies
        features = (state.scores, phases.sin().flatten(1), phases.cos().flatten(1), state.clean.float())
        return torch.cat(features, 1) @ self.enter + F.embedding(state.codes + self.starts, self.codes).sum(1)


class Trunk(nn.Module):
    """Residual blocks on the features of a row."""

    def __init__(self, parts: Sequence[Part], ordered: int, *, width: int, depth: int, dropout: float) -> None:
        super().__init__()
        self.features = RowFeatures(parts, ordered, width)
        self.rise = nn.ModuleList(nn.Linear(width, 2 * width) for _ in range(depth))
        self.fall = nn.ModuleList(nn.Linear(2 * width, width) for _ in range(depth))
        self.dropout = dropout

    def forward(self, state: State, draw: torch.Generator | None, level: Tensor | float = 0.0) -> Tensor:
        """(rows, width); `level` (rows, width) tells each block the noise level, `draw` drops units, as in training."""
        x = self.features(state)
        for rise, fall in zip(self.rise, self.fall, strict=True):
            x = x + fall(_dropped(F.silu(rise(_normed(x) + level)), self.dropout, draw))
        return F.silu(_normed(x))


class Unmasker(nn.Module):
    """p(code | what is seen) of each part in `told`."""

    def __init__(
        self, parts: Sequence[Part], ordered: int, told: Sequence[int], *, width: int, depth: int, dropout: float
    ) -> None:
        super().__init__()
        self.trunk = Trunk(parts, ordered, width=width, depth=depth, dropout=dropout)
        self.heads = nn.ModuleDict({str(j): nn.Linear(width, parts[j].size) for j in told})

    def forward(self, state: State, parts: Sequence[int], draw: torch.Generator | None = None) -> list[Tensor]:
        """Logits (rows, size) of each of `parts`."""
        hidden = self.trunk(state, draw)
        return [self.heads[str(j)](hidden).float() for j in parts]


class Denoiser(nn.Module):
    """D(x; sigma), the expected scores given noisy ones: EDM's preconditioning at unit variance.

    Karras et al., "Elucidating the design space of diffusion-based generative models" (NeurIPS 2022), table 1.
    """

    reach: Tensor  # (levels,)
    free: Tensor  # (numbers,), places among the ordered parts

    def __init__(
        self, parts: Sequence[Part], ordered: int, free: Sequence[int], *, width: int, depth: int, dropout: float
    ) -> None:
        super().__init__()
        self.trunk = Trunk(parts, ordered, width=width, depth=depth, dropout=dropout)
        self.level = nn.Sequential(nn.Linear(2 * _LEVELS, width), nn.SiLU(), nn.Linear(width, width))
        self.head = nn.Linear(width, len(free))
        self.register_buffer("reach", torch.exp(torch.linspace(-2, 3, _LEVELS)), persistent=False)
        self.register_buffer("free", torch.tensor(free, dtype=torch.int64), persistent=False)

    def forward(self, state: State, sigma: Tensor, draw: torch.Generator | None = None) -> Tensor:
        """Expected scores (rows, numbers) of the parts `free`; `sigma` (rows, 1) is the standard deviation of the noise."""
        scale = torch.rsqrt(1 + sigma.square())  # c_in; also c_out / sigma, and its square c_skip
        phases = sigma.log() / 4 * self.reach
        level = self.level(torch.cat([phases.sin(), phases.cos()], 1))
        scaled = torch.where(state.clean, state.scores, state.scores * scale)
        change = self.head(self.trunk(State(state.codes, scaled, state.clean), draw, level)).float()
        return scale.square() * state.scores[:, self.free] + sigma * scale * change


def initialise(network: nn.Module, generator: torch.Generator) -> None:
    """Normal weights from `generator` alone: variance 1 / fan-in, a hundredth of it for heads, which start nearly even."""
    for name, weight in network.named_parameters():
        if name.endswith("bias"):
            nn.init.zeros_(weight)
        elif name.endswith("features.codes"):
            _normal(weight, 0.3, generator)
        elif name.endswith("features.frequencies"):
            _normal(weight, 2.0, generator)
        elif name.endswith("features.enter"):
            _normal(weight, max(1, len(weight)) ** -0.5, generator)
        else:
            _normal(weight, (0.1 if "head" in name else 1.0) * weight.shape[1] ** -0.5, generator)


@torch.no_grad()
def _normal(weight: Tensor, std: float, generator: torch.Generator) -> None:
    weight.copy_(std * torch.randn(weight.shape, generator=generator))


def _normed(x: Tensor) -> Tensor:
    return F.layer_norm(x, x.shape[-1:])


def _dropped(x: Tensor, share: float, draw: torch.Generator | None) -> Tensor:
    """Dropout by a generator of one's own, which torch's cannot take."""
    if draw is None or share == 0:
        return x
    return x * (torch.rand(x.shape, generator=draw, device=x.device) >= share) / (1 - share)
