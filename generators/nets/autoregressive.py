"""A network that predicts every column from those before it, in any order; see generators/table/llm.py.

Shapes: tokens, scores and ranks are (rows, parts). A column sees the columns of a lower rank and no others.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from generators.nets.tokens import RowTokens, Vocabulary

_KNOTS = 32  # of the piecewise linear embedding of a number by its rank
_WAVES = 3  # cosines that the logits of fine bins are made of: smooth within a coarse bin, which overfits less than a logit each


class Stacked(nn.Module):
    """A linear map of its own for each part: (parts, rows, inputs) -> (parts, rows, outputs)."""

    def __init__(self, parts: int, inputs: int, outputs: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(parts, inputs, outputs))
        self.bias = nn.Parameter(torch.zeros(parts, 1, outputs))

    def forward(self, x: Tensor) -> Tensor:
        """All parts at once."""
        return torch.baddbmm(self.bias, x, self.weight)

    def of(self, j: int, x: Tensor) -> Tensor:
        """Part `j` alone: (rows, inputs) -> (rows, outputs)."""
        return torch.addmm(self.bias[j], x, self.weight[j])


class Block(nn.Module):
    """x + W2 silu(W1 norm(x)), with weights of its own for each part."""

    def __init__(self, parts: int, width: int, dropout: float) -> None:
        super().__init__()
        self.rise, self.fall = Stacked(parts, width, width), Stacked(parts, width, width)
        self.dropout = dropout

    def forward(self, x: Tensor, draw: torch.Generator | None) -> Tensor:
        """All parts; (parts, rows, width)."""
        change: Tensor = self.fall(_dropped(F.silu(self.rise(_normed(x))), self.dropout, draw))
        return x + change

    def of(self, j: int, x: Tensor) -> Tensor:
        """Part `j` alone, (rows, width), without dropout."""
        return x + self.fall.of(j, F.silu(self.rise.of(j, _normed(x))))


class CellEmbedding(nn.Module):
    """One vector a cell, (rows, parts, width): its token's, and for numbers a piecewise linear function of the score's rank.

    The latter is an encoding of Gorishniy, Rubachev and Babenko, "On embeddings for numerical features in tabular deep learning" (NeurIPS
    2022), with knots that are even in rank.
    """

    starts: Tensor  # (parts,), where a part's tokens begin
    ordered: Tensor  # (numbers,), which parts are numbers

    def __init__(self, words: Sequence[Vocabulary], width: int) -> None:
        super().__init__()
        sizes = torch.tensor([word.size for word in words])
        ordered = [j for j, word in enumerate(words) if word.is_ordered]
        self.place = {j: place for place, j in enumerate(ordered)}
        self.tokens = nn.Parameter(torch.empty(int(sizes.sum()), width))
        self.knots = nn.Parameter(torch.empty(len(ordered), _KNOTS + 1, width))
        self.slopes = nn.Parameter(torch.empty(len(ordered), width))
        self.register_buffer("starts", torch.cumsum(sizes, 0) - sizes, persistent=False)
        self.register_buffer("ordered", torch.tensor(ordered, dtype=torch.int64), persistent=False)

    def forward(self, first: Tensor, scores: Tensor) -> Tensor:
        """All cells."""
        vectors = F.embedding(first + self.starts, self.tokens)
        if not self.place:
            return vectors
        places = torch.arange(len(self.place), device=first.device)
        return vectors.index_add(1, self.ordered, self._of_scores(places, scores[:, self.ordered]))

    def of(self, j: int, first: Tensor, scores: Tensor) -> Tensor:
        """Part `j` alone: (rows,) -> (rows, width)."""
        vectors = F.embedding(first + self.starts[j], self.tokens)
        if j not in self.place:
            return vectors
        place = torch.tensor([self.place[j]], device=first.device)
        return vectors + self._of_scores(place, scores[:, None])[:, 0]

    def _of_scores(self, places: Tensor, scores: Tensor) -> Tensor:
        """Between the vectors of the two nearest knots; the slope tells apart what lies far out, where ranks do not."""
        rank = torch.special.ndtr(scores) * _KNOTS
        below = rank.floor().clamp(0, _KNOTS - 1)
        row = below.long() + places * (_KNOTS + 1)
        knots = self.knots.flatten(0, 1)
        low, high = F.embedding(row, knots), F.embedding(row + 1, knots)
        return torch.lerp(low, high, (rank - below)[..., None]) + scores[..., None] * self.slopes[places]


@dataclass(frozen=True, slots=True)
class Uniforms:
    """What one draw of all parts needs, each (rows, parts), float64."""

    first: Tensor
    fine: Tensor
    within: Tensor


class Autoregressive(nn.Module):
    """p(column | columns before it), for all columns at once, or drawn from one after the other.

    `places` (parts,) is the order in which columns are made unless they are given: labels before numbers, few tokens before many.
    """

    places: Tensor

    def __init__(self, words: Sequence[Vocabulary], *, width: int, depth: int, dropout: float) -> None:
        super().__init__()
        self.words = words
        self.dropout = dropout
        self.order = sorted(range(len(words)), key=lambda j: (words[j].is_ordered, words[j].size))
        self.register_buffer("places", torch.tensor(self.order).argsort(), persistent=False)
        fine = {str(j): word.bins.fine for j, word in enumerate(words) if word.bins is not None}
        self.cells = CellEmbedding(words, 2 * width)
        self.entry = Stacked(len(words), 2 * width, width)
        self.blocks = nn.ModuleList(Block(len(words), width, dropout) for _ in range(depth))
        self.heads = nn.ModuleList(nn.Linear(width, word.size) for word in words)
        self.refined = nn.ModuleDict({j: nn.Linear(width, width) for j in fine})
        self.coarse = nn.ModuleDict({j: nn.Embedding(words[int(j)].size, width) for j in fine})
        self.fine = nn.ModuleDict({j: nn.Linear(width, _WAVES) for j in fine})
        for j, size in fine.items():
            self.register_buffer(f"waves_{j}", _waves(size), persistent=False)

    def log_prob(
        self, rows: RowTokens, ranks: Tensor, *, draw: torch.Generator | None = None, blur: float = 0.0
    ) -> Tensor:
        """Log probability of each cell's tokens given the cells of a lower rank, in nats: (rows, parts).

        With `draw`, as in training: units are dropped, and the bins to be predicted, not those that are seen, move by a share of
        about `blur` of all bins.
        """
        sees = (ranks[:, :, None] > ranks[:, None, :]).float()
        x = self.entry((sees @ self.cells(rows.first, rows.scores)).transpose(0, 1))  # (parts, rows, width)
        for block in self.blocks:
            x = block(x, draw)
        hidden = _dropped(F.silu(_normed(x)), self.dropout, draw)
        return torch.stack([self._log_part(j, hidden[j], rows, draw, blur) for j in range(len(self.words))], 1)

    def _log_part(self, j: int, hidden: Tensor, rows: RowTokens, draw: torch.Generator | None, blur: float) -> Tensor:
        first, fine, word = rows.first[:, j], rows.fine[:, j], self.words[j]
        if draw is not None and word.bins is not None:
            normals = torch.randn(len(first), generator=draw, device=first.device)
            first, fine = word.blurred(first, fine, blur * normals)
        log = -F.cross_entropy(self.heads[j](hidden).float(), first, reduction="none")
        if word.bins is None:
            return log
        log_fine = -F.cross_entropy(self._fine_logits(j, hidden, first), fine, reduction="none")
        return log + log_fine * (first >= word.codes)

    def _fine_logits(self, j: int, hidden: Tensor, first: Tensor) -> Tensor:
        key = str(j)
        amplitudes: Tensor = self.fine[key](F.silu(self.refined[key](hidden) + self.coarse[key](first)))
        return amplitudes.float() @ self.get_buffer(f"waves_{key}")

    def sample(
        self, given: RowTokens, seen: Tensor, noise: Uniforms, *, temperature: float, top_p: float
    ) -> tuple[Tensor, Tensor]:
        """Codes and values (rows, parts) of what is not `seen`, drawn column by column; where it is, they mean nothing."""
        context = (self.cells(given.first, given.scores) * seen[..., None]).sum(1)
        made: dict[int, tuple[Tensor, Tensor]] = {}
        for j in self.order:
            word, x = self.words[j], self.entry.of(j, context)
            for block in self.blocks:
                assert isinstance(block, Block)
                x = block.of(j, x)
            hidden = F.silu(_normed(x))
            first = invert(self.heads[j](hidden).float() / temperature, noise.first[:, j], top_p)
            fine = torch.zeros_like(first)
            if word.bins is not None:
                fine = invert(self._fine_logits(j, hidden, first) / temperature, noise.fine[:, j], top_p)
            made[j] = word.cells(first, fine, noise.within[:, j])
            scores = torch.tensor(word.scores, device=first.device)[first] + made[j][1].float()
            context = context + self.cells.of(j, first, scores) * ~seen[:, j, None]
        all_codes, all_values = zip(*(made[j] for j in range(len(self.words))), strict=True)
        return torch.stack(all_codes, 1), torch.stack(all_values, 1)


def initialise(network: Autoregressive, generator: torch.Generator) -> None:
    """Normal weights from `generator` alone: variance 1 / fan-in, a quarter of it for heads, so that they start nearly even."""
    for name, weight in network.named_parameters():
        if name.endswith("bias"):
            nn.init.zeros_(weight)
        elif name.startswith("cells."):
            nn.init.normal_(weight, std=0.3, generator=generator)
        else:
            is_stacked = weight.ndim == 3
            std = (1.0 if is_stacked else 0.5) * weight.shape[1] ** -0.5
            nn.init.normal_(weight, std=std, generator=generator)


def random_ranks(places: Tensor, rows: int, draw: torch.Generator) -> Tensor:
    """Each column's place, (rows, parts), but -1 for a random set of columns, as if given, in half of the rows."""
    parts, device = len(places), places.device
    few = torch.rand((rows, 1), generator=draw, device=device).square()  # recipes give a column or two and rarely most
    count = (1 + few * (parts - 1)).long() * torch.randint(2, (rows, 1), generator=draw, device=device)
    chance = torch.rand((rows, parts), generator=draw, device=device).argsort(1)
    return torch.where(chance < count, -1, places)


def invert(logits: Tensor, uniforms: Tensor, top_p: float = 1.0) -> Tensor:
    """One draw a row from a categorical by inverting its distribution function: (rows, size), (rows,) -> (rows,).

    `top_p` keeps the likeliest tokens that hold this share together (Holtzman et al., "The curious case of neural text degeneration",
    ICLR 2020).
    """
    shares = torch.softmax(logits, 1)
    if top_p < 1:
        sorted_shares, order = shares.sort(stable=True, dim=1, descending=True)
        is_kept = sorted_shares.cumsum(1) - sorted_shares < top_p
        shares = torch.zeros_like(shares).scatter(1, order, sorted_shares * is_kept)
    cumulative = shares.cumsum(1)
    targets = uniforms.float()[:, None] * cumulative[:, -1:]  # the sum of float32 shares is not quite one
    return (targets > cumulative[:, :-1]).sum(1)


def _waves(bins: int) -> Tensor:
    """Cosines over the middles of `bins`, the slower ones higher: (waves, bins)."""
    middles = (torch.arange(bins) + 0.5) / bins
    return torch.stack([2 * torch.cos(math.pi * k * middles) / math.sqrt(k) for k in range(1, _WAVES + 1)])


def _normed(x: Tensor) -> Tensor:
    return F.layer_norm(x, x.shape[-1:])


def _dropped(x: Tensor, share: float, draw: torch.Generator | None) -> Tensor:
    """Dropout by a generator of one's own, which torch's cannot take."""
    if draw is None or share == 0:
        return x
    return x * (torch.rand(x.shape, generator=draw, device=x.device) >= share) / (1 - share)
