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

from generators.nets.mixture import PEAKS, Mixture
from generators.nets.possible import EVERYTHING, Possible
from generators.nets.tokens import RowTokens, Vocabulary

_CURVE_WAVES = 16  # cosines of the curves that numbers enter by
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
    """One vector a cell, (rows, parts, width): its token's, and for numbers a curve over the score's rank and a line over the score.

    A curve is a sum of cosines, the slower ones larger, so that it starts smooth and what is learnt at one number holds for its
    neighbours: periodic features of Gorishniy, Rubachev and Babenko, "On embeddings for numerical features in tabular deep learning"
    (NeurIPS 2022), here of fixed frequencies. The line tells apart what lies far out, where ranks do not.
    """

    starts: Tensor  # (parts,), where a part's tokens begin
    ordered: Tensor  # (numbers,), which parts are numbers

    def __init__(self, words: Sequence[Vocabulary], width: int) -> None:
        super().__init__()
        sizes = torch.tensor([word.size for word in words])
        ordered = [j for j, word in enumerate(words) if word.is_ordered]
        self.place = {j: place for place, j in enumerate(ordered)}
        self.tokens = nn.Parameter(torch.empty(int(sizes.sum()), width))
        self.curves = nn.Parameter(torch.empty(len(ordered), _CURVE_WAVES + 1, width))
        self.register_buffer("starts", torch.cumsum(sizes, 0) - sizes, persistent=False)
        self.register_buffer("ordered", torch.tensor(ordered, dtype=torch.int64), persistent=False)

    def forward(self, first: Tensor, scores: Tensor) -> Tensor:
        """All cells."""
        vectors = F.embedding(first + self.starts, self.tokens)
        if not self.place:
            return vectors
        of_scores = features(scores[:, self.ordered]).transpose(0, 1) @ self.curves  # (numbers, rows, width)
        return vectors.index_add(1, self.ordered, of_scores.transpose(0, 1).to(vectors.dtype))

    def of(self, j: int, first: Tensor, scores: Tensor) -> Tensor:
        """Part `j` alone: (rows,) -> (rows, width)."""
        vectors = F.embedding(first + self.starts[j], self.tokens)
        return vectors + features(scores) @ self.curves[self.place[j]] if j in self.place else vectors


def features(scores: Tensor) -> Tensor:
    """What curves are linear in: cosines over the rank, falling with their frequency, and the score itself; (..., waves + 1)."""
    frequencies = torch.arange(1, _CURVE_WAVES + 1, device=scores.device)
    waves = torch.cos(math.pi * frequencies * torch.special.ndtr(scores)[..., None]) / frequencies
    return torch.cat([waves, scores[..., None]], -1)


@dataclass(frozen=True, slots=True)
class Uniforms:
    """What one draw of all parts needs, each (rows, parts), float64."""

    first: Tensor
    fine: Tensor
    within: Tensor


class Autoregressive(nn.Module):
    """p(column | columns before it), for all columns at once, or drawn from one after the other.

    `places` (parts,) is the order in which columns are made unless they are given: labels before numbers, few tokens before many.
    The peaks of a number's mixture move with the numbers seen, each along a line of its own: that alone follows one number from another
    to three digits, which hidden units and embeddings do not.
    """

    places: Tensor

    def __init__(self, words: Sequence[Vocabulary], *, width: int, depth: int, dropout: float) -> None:
        super().__init__()
        self.words = words
        self.dropout = dropout
        self.order = sorted(range(len(words)), key=lambda j: (words[j].is_ordered, words[j].size))
        self.register_buffer("places", torch.tensor(self.order).argsort(), persistent=False)
        bins = {str(j): word.bins for j, word in enumerate(words) if word.bins is not None}
        self.cells = CellEmbedding(words, 2 * width)
        self.entry = Stacked(len(words), 2 * width, width)
        self.blocks = nn.ModuleList(Block(len(words), width, dropout) for _ in range(depth))
        self.heads = nn.ModuleList(nn.Linear(width, word.size) for word in words)
        self.mixtures = nn.ModuleDict(
            {str(j): Mixture(word.bounds, width) for j, word in enumerate(words) if word.is_ordered}
        )
        self.lines = Stacked(len(words), len(words), PEAKS)
        self.refined = nn.ModuleDict({j: nn.Linear(width, width) for j in bins})
        self.coarse = nn.ModuleDict({j: nn.Embedding(words[int(j)].size, width) for j in bins})
        self.fine = nn.ModuleDict({j: nn.Linear(width, _WAVES) for j in bins})
        for place, word in enumerate(words):
            self.register_buffer(f"codes_{place}", word.codes_of_tokens, persistent=False)
            self.register_buffer(f"scores_{place}", torch.tensor(word.scores), persistent=False)
        for j, own in bins.items():
            self.register_buffer(f"waves_{j}", _waves(own.fine), persistent=False)

    def log_prob(
        self,
        rows: RowTokens,
        ranks: Tensor,
        *,
        beside: Tensor | None = None,
        draw: torch.Generator | None = None,
        blur: float = 0.0,
    ) -> Tensor:
        """Log probability of each cell's tokens given the cells of a lower rank, in nats: (rows, parts).

        With `draw`, as in training: units are dropped, and the bins to be predicted, not those that are seen, move by a share of
        about `blur` of all bins. `beside` (rows, 2 width) is what every column sees beside cells.
        """
        sees = (ranks[:, :, None] > ranks[:, None, :]).float()
        context = sees @ self.cells(rows.first, rows.scores)
        if beside is not None:
            context = context + beside[:, None]
        x = self.entry(context.transpose(0, 1))  # (parts, rows, width)
        for block in self.blocks:
            x = block(x, draw)
        hidden = _dropped(F.silu(_normed(x)), self.dropout, draw)
        with torch.autocast(sees.device.type, enabled=False):  # numbers keep their digits
            shifts = self.lines((sees * rows.scores[:, None]).transpose(0, 1))  # (parts, rows, peaks)
        logs = [self._log_part(j, hidden[j], shifts[j], rows, draw, blur) for j in range(len(self.words))]
        return torch.stack(logs, 1)

    def _log_part(
        self, j: int, hidden: Tensor, shift: Tensor, rows: RowTokens, draw: torch.Generator | None, blur: float
    ) -> Tensor:
        first, fine, word = rows.first[:, j], rows.fine[:, j], self.words[j]
        if draw is not None and word.bins is not None:
            normals = torch.randn(len(first), generator=draw, device=first.device)
            first, fine = word.blurred(first, fine, blur * normals)
        shape = self._shape(j, hidden, shift)
        log = -F.cross_entropy(self._first_logits(j, hidden, shape), first, reduction="none")
        if word.bins is None:
            return log
        log_fine = -F.cross_entropy(self._fine_logits(j, hidden, shape, first), fine, reduction="none")
        return log + log_fine * (first >= word.codes)

    def _shape(self, j: int, hidden: Tensor, shift: Tensor) -> Tensor:
        """Of part `j`'s mixture, (rows, 3 peaks); nothing for labels, (rows, 0)."""
        return self._mixture(j)(hidden, shift) if self.words[j].is_ordered else hidden[:, :0]

    def _first_logits(self, j: int, hidden: Tensor, shape: Tensor) -> Tensor:
        """Of part `j`'s tokens: a number's are moved by the mixture."""
        logits: Tensor = self.heads[j](hidden).float()
        if not self.words[j].is_ordered:
            return logits
        moved = self.words[j].ascending
        return logits + F.pad(self._mixture(j).log_coarse(shape), (moved.start, logits.shape[1] - moved.stop))

    def _fine_logits(self, j: int, hidden: Tensor, shape: Tensor, first: Tensor) -> Tensor:
        """Of the fine bins in the coarse one that `first` names; of any coarse one where it names none."""
        key = str(j)
        amplitudes: Tensor = self.fine[key](F.silu(self.refined[key](hidden) + self.coarse[key](first)))
        own = amplitudes.float() @ self.get_buffer(f"waves_{key}")
        return own + self._mixture(j).log_fine(shape, (first - self.words[j].codes).clamp(min=0))

    def _mixture(self, j: int) -> Mixture:
        mixture = self.mixtures[str(j)]
        assert isinstance(mixture, Mixture)
        return mixture

    def sample(
        self,
        given: RowTokens,
        seen: Tensor,
        noise: Uniforms,
        *,
        possible: Possible = EVERYTHING,
        beside: Tensor | None = None,
        temperature: float,
        top_p: float = 1.0,
    ) -> tuple[Tensor, Tensor]:
        """Codes and values (rows, parts) of what is not `seen`, drawn column by column; where it is, they mean nothing."""
        context = self._context(given, seen)
        if beside is not None:
            context = context + beside
        made: dict[int, tuple[Tensor, Tensor]] = {}
        numbers, codes, known = given.scores * seen, self._codes(given), seen.clone()
        for j in self.order:
            word, x = self.words[j], self.entry.of(j, context)
            for block in self.blocks:
                assert isinstance(block, Block)
                x = block.of(j, x)
            hidden = F.silu(_normed(x))
            with torch.autocast(seen.device.type, enabled=False):
                shift = self.lines.of(j, numbers)
            shape = self._shape(j, hidden, shift)
            logits = self._first_logits(j, hidden, shape)
            logits = possible.restrict(logits, j, codes, known, self.get_buffer(f"codes_{j}"))
            if temperature != 1:  # of densities: where train is sparse a bin is likely for being wide
                log_widths = word.log_widths.to(logits.device)
                logits = (logits - log_widths) / temperature + log_widths
            first = invert(logits, noise.first[:, j], top_p)
            fine = torch.zeros_like(first)
            if word.bins is not None:
                fine = invert(self._fine_logits(j, hidden, shape, first) / temperature, noise.fine[:, j], top_p)
            made[j] = word.cells(first, fine, noise.within[:, j])
            scores = self.get_buffer(f"scores_{j}")[first] + made[j][1].float()
            context = context + self.cells.of(j, first, scores) * ~seen[:, j, None]
            numbers[:, j] = torch.where(seen[:, j], numbers[:, j], scores)
            codes[:, j] = torch.where(seen[:, j], codes[:, j], made[j][0])
            known[:, j] = True
        all_codes, all_values = zip(*(made[j] for j in range(len(self.words))), strict=True)
        return torch.stack(all_codes, 1), torch.stack(all_values, 1)

    def _codes(self, given: RowTokens) -> Tensor:
        """(rows, parts)."""
        return torch.stack([self.get_buffer(f"codes_{j}")[given.first[:, j]] for j in range(len(self.words))], 1)

    def _context(self, given: RowTokens, seen: Tensor) -> Tensor:
        """The sum of the cells that are `seen`, (rows, 2 width); most requests give none, or one column."""
        context = torch.zeros((len(given), self.cells.tokens.shape[1]), device=seen.device)
        for j in seen.any(0).nonzero().flatten().tolist():
            context = context + self.cells.of(j, given.first[:, j], given.scores[:, j]) * seen[:, j, None]
        return context


def initialise(network: Autoregressive, generator: torch.Generator) -> None:
    """Normal weights from `generator` alone: variance 1 / fan-in, a quarter of it for heads, so that they start even; lines start level."""
    for name, weight in network.named_parameters():
        if name.endswith("bias") or name.startswith("lines."):
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
