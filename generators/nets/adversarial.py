"""The two networks of generators/table/gan.py, which play for every column at once, and the game between them.

Shapes: tokens, scores and ranks are (rows, parts). A column sees the columns of a lower rank and no others.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from generators.nets.autoregressive import Block, CellEmbedding, Stacked, invert
from generators.nets.tokens import Bins, RowTokens, Vocabulary
from synthmill.codecs.table import Part


class FlatBins(Bins):
    """Bins that are tokens themselves, not groups of finer ones."""

    @property
    def fine(self) -> int:
        """One: itself."""
        return 1


def flat_vocabularies(parts: Sequence[Part], codes: Tensor, values: Tensor, bins: int) -> tuple[Vocabulary, ...]:
    """Tokens of all parts, with at most so many bins of a column's numbers, fitted on the codes and values (rows, parts) of train."""

    def of_part(j: int, part: Part) -> Vocabulary:
        return Vocabulary(part, None if part.free is None else FlatBins.fit(values[codes[:, j] == part.free, j], bins))

    return tuple(of_part(j, part) for j, part in enumerate(parts))


def flat_from_tensors(parts: Sequence[Part], tensors: Mapping[str, Tensor]) -> tuple[Vocabulary, ...]:
    """What tokens.to_tensors gave of them."""

    def of_part(j: int, part: Part) -> Vocabulary:
        bins = None if part.free is None else FlatBins(*(tensors[f"{j}.{name}"] for name in ("edges", "low", "high")))
        return Vocabulary(part, bins)

    return tuple(of_part(j, part) for j, part in enumerate(parts))


class ColumnScores(nn.Module):
    """A score for every token of a column, given the columns before it: the generator's are logits, the critic's say how real it looks.

    `places` (parts,) is the order in which columns are made unless they are given: labels before numbers, few tokens before many.
    """

    places: Tensor

    def __init__(self, words: Sequence[Vocabulary], *, width: int, dropout: float) -> None:
        super().__init__()
        self.words = words
        self.order = sorted(range(len(words)), key=lambda j: (words[j].is_ordered, words[j].size))
        self.register_buffer("places", torch.tensor(self.order).argsort(), persistent=False)
        self.cells = CellEmbedding(words, 2 * width)
        self.entry = Stacked(len(words), 2 * width, width)
        self.block = Block(len(words), width, dropout)
        self.heads = nn.ModuleList(nn.Linear(width, word.size) for word in words)
        self.dropout = dropout
        for j, word in enumerate(words):
            self.register_buffer(f"scores_{j}", torch.tensor(word.scores), persistent=False)

    def forward(self, rows: RowTokens, ranks: Tensor, draw: torch.Generator | None = None) -> list[Tensor]:
        """The scores of each part's tokens, (rows, tokens); with `draw`, as in training, units are dropped."""
        sees = (ranks[:, :, None] > ranks[:, None, :]).float()
        x = self.entry((sees @ self.cells(rows.first, rows.scores)).transpose(0, 1))  # (parts, rows, width)
        hidden = _activated(self.block(x, draw))
        if draw is not None and self.dropout:
            is_kept = torch.rand(hidden.shape, generator=draw, device=hidden.device) >= self.dropout
            hidden = hidden * is_kept / (1 - self.dropout)
        return [head(hidden[j]).float() for j, head in enumerate(self.heads)]

    def sample(self, given: RowTokens, seen: Tensor, noise: Noise, temperature: float) -> tuple[Tensor, Tensor]:
        """Codes and values (rows, parts) of what is not `seen`, drawn column by column; where it is, they mean nothing."""
        context = (self.cells(given.first, given.scores) * seen[..., None]).sum(1)
        made: dict[int, tuple[Tensor, Tensor]] = {}
        for j in self.order:
            word = self.words[j]
            hidden = _activated(self.block.of(j, self.entry.of(j, context)))
            tokens = invert(self.heads[j](hidden).float() / temperature, noise.tokens[:, j])
            made[j] = word.cells(tokens, torch.zeros_like(tokens), noise.within[:, j])
            scores = self.get_buffer(f"scores_{j}")[tokens] + made[j][1].float()
            context = context + self.cells.of(j, tokens, scores) * ~seen[:, j, None]
        codes, values = zip(*(made[j] for j in range(len(self.words))), strict=True)
        return torch.stack(codes, 1), torch.stack(values, 1)


@dataclass(frozen=True, slots=True)
class Noise:
    """What one draw of all parts needs, uniform, each (rows, parts), float64."""

    tokens: Tensor
    within: Tensor


def initialise(network: ColumnScores, generator: torch.Generator) -> None:
    """Normal weights from `generator` alone: variance 1 / fan-in, a quarter of it for heads, so that they start nearly even."""
    for name, weight in network.named_parameters():
        if name.endswith("bias"):
            nn.init.zeros_(weight)
        elif name.startswith("cells."):
            nn.init.normal_(weight, std=0.3, generator=generator)
        else:
            is_stacked = weight.ndim == 3
            nn.init.normal_(weight, std=(1.0 if is_stacked else 0.5) * weight.shape[1] ** -0.5, generator=generator)


def game(logits: Tensor, heights: Tensor, real: Tensor, penalty: float) -> tuple[Tensor, Tensor]:
    """The losses of generator and critic at one column of rows whose token is `real`, each (rows,).

    Relativistic and paired: a row's real token against one that the generator would draw in its place, q = softmax(logits), given the
    same cells. As the critic's `heights` (rows, tokens) rate every token, the mean over the generator's draws is exact and needs
    no straight-through estimate. `penalty` is on the squared heights, above their mean, of real and of drawn tokens.
    """
    q = torch.softmax(logits, 1)
    weights = q.detach()
    heights = heights - (weights * heights).sum(1, keepdim=True)
    of_real = heights.gather(1, real[:, None])
    of_critic = (weights * (F.softplus(heights - of_real) + penalty * heights.square())).sum(1)
    of_generator = (q * F.softplus(of_real - heights).detach()).sum(1)
    return of_generator, of_critic + penalty * of_real[:, 0].square()


def _activated(x: Tensor) -> Tensor:
    return F.silu(F.layer_norm(x, x.shape[-1:]))
