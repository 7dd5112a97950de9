"""The two networks of generators/table/gan.py, which play for every column at once, and the game between them.

Shapes: tokens and ranks are (rows, parts). A column sees the columns of a lower rank and no others.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from generators.nets.autoregressive import Block, CellEmbedding, Stacked, invert
from generators.nets.possible import EVERYTHING, Possible
from generators.nets.tokens import Bins, RowTokens, Vocabulary
from synthmill.codecs.table import Part


class FlatBins(Bins):
    """Bins that are tokens themselves, not groups of finer ones."""

    @property
    def fine(self) -> int:
        """One: itself."""
        return 1


def flat_vocabularies(parts: Sequence[Part], codes: Tensor, values: Tensor, bins: int) -> tuple[Vocabulary, ...]:
    """Tokens of all parts, fitted on train's codes and values (rows, parts): so many bins of a column's numbers, some more for spikes."""

    def of_part(j: int, part: Part) -> Vocabulary:
        if part.free is None:
            return Vocabulary(part, None)
        return Vocabulary(part, FlatBins.fit(values[codes[:, j] == part.free, j], bins, part.flats))

    return tuple(of_part(j, part) for j, part in enumerate(parts))


def flat_from_tensors(parts: Sequence[Part], tensors: Mapping[str, Tensor]) -> tuple[Vocabulary, ...]:
    """What tokens.to_tensors gave of them."""

    def of_part(j: int, part: Part) -> Vocabulary:
        bins = None if part.free is None else FlatBins(*(tensors[f"{j}.{name}"] for name in ("edges", "low", "high")))
        return Vocabulary(part, bins)

    return tuple(of_part(j, part) for j, part in enumerate(parts))


class ColumnScores(nn.Module):
    """A score for every token of a column, given the columns before it."""

    def __init__(self, words: Sequence[Vocabulary], *, width: int, dropout: float) -> None:
        super().__init__()
        self.dropout = dropout
        self.cells = CellEmbedding(words, 2 * width)
        self.entry = Stacked(len(words), 2 * width, width)
        self.block = Block(len(words), width, dropout)
        self.heads = nn.ModuleList(nn.Linear(width, word.size) for word in words)

    def forward(self, rows: RowTokens, ranks: Tensor, draw: torch.Generator | None = None) -> list[Tensor]:
        """The scores of each part's tokens, (rows, tokens); with `draw`, as in training, units are dropped."""
        sees = (ranks[:, :, None] > ranks[:, None, :]).float()
        x = self.entry((sees @ self.cells(rows.first, rows.scores)).transpose(0, 1))  # (parts, rows, width)
        hidden = _activated(self.block(x, draw))
        if draw is not None and self.dropout:
            is_kept = torch.rand(hidden.shape, generator=draw, device=hidden.device) >= self.dropout
            hidden = hidden * is_kept / (1 - self.dropout)
        return [head(hidden[j]).float() for j, head in enumerate(self.heads)]

    def of(self, j: int, context: Tensor) -> Tensor:
        """Part `j` alone, (rows, tokens), from the sum of the cells that it sees."""
        x = self.block.of(j, self.entry.of(j, context))
        scores: Tensor = self.heads[j](_activated(x)).float()
        return scores


@dataclass(frozen=True, slots=True)
class Noise:
    """What one draw of all parts needs, uniform, each (rows, parts), float64."""

    tokens: Tensor
    within: Tensor


class Players(nn.Module):
    """The generator, whose scores are logits, and the critic, whose scores are log odds that a token is real and not the generator's.

    Rows are drawn from the generator's distribution as the critic corrects it: q exp(d) is p where d = log p - log q. `places` (parts,)
    is the order in which columns are made unless they are given: labels before numbers, few tokens before many.
    """

    places: Tensor

    def __init__(self, words: Sequence[Vocabulary], *, width: int, dropout: float) -> None:
        super().__init__()
        self.words = words
        self.order = sorted(range(len(words)), key=lambda j: (words[j].is_ordered, words[j].size))
        self.register_buffer("places", torch.tensor(self.order).argsort(), persistent=False)
        self.generator = ColumnScores(words, width=width, dropout=dropout)
        self.critic = ColumnScores(words, width=width, dropout=dropout)
        for j, word in enumerate(words):
            self.register_buffer(f"codes_{j}", word.codes_of_tokens, persistent=False)
            self.register_buffer(f"scores_{j}", torch.tensor(word.scores), persistent=False)
            self.register_buffer(f"log_widths_{j}", word.log_widths, persistent=False)

    def nats(self, rows: RowTokens) -> Tensor:
        """Minus the log probability of each row's tokens, with no column given: (rows,)."""
        ranks = self.places.expand(len(rows), -1)
        logits = map(torch.add, self.generator(rows, ranks), self.critic(rows, ranks))
        of_parts = [F.cross_entropy(x, rows.first[:, j], reduction="none") for j, x in enumerate(logits)]
        return torch.stack(of_parts, 1).sum(1)

    def sample(
        self, given: RowTokens, seen: Tensor, noise: Noise, temperature: float, possible: Possible = EVERYTHING
    ) -> tuple[Tensor, Tensor]:
        """Codes and values (rows, parts) of what is not `seen`, drawn column by column; where it is, they mean nothing."""
        players = (self.generator, self.critic)
        contexts = [(player.cells(given.first, given.scores) * seen[..., None]).sum(1) for player in players]
        made: dict[int, tuple[Tensor, Tensor]] = {}
        known_codes = torch.stack([self.get_buffer(f"codes_{j}")[given.first[:, j]] for j in range(len(self.words))], 1)
        known = seen.clone()
        for j in self.order:
            logits = self.generator.of(j, contexts[0]) + self.critic.of(j, contexts[1])
            logits = possible.restrict(logits, j, known_codes, known, self.get_buffer(f"codes_{j}"))
            wide = (1 - 1 / temperature) * self.get_buffer(f"log_widths_{j}")  # it is the density that is tempered
            tokens = invert(logits / temperature + wide, noise.tokens[:, j])
            made[j] = self.words[j].cells(tokens, torch.zeros_like(tokens), noise.within[:, j])
            scores = self.get_buffer(f"scores_{j}")[tokens] + made[j][1].float()
            known_codes[:, j], known[:, j] = torch.where(seen[:, j], known_codes[:, j], made[j][0]), True
            new = ~seen[:, j, None]
            contexts = [
                context + player.cells.of(j, tokens, scores) * new
                for context, player in zip(contexts, players, strict=True)
            ]
        made_codes, values = zip(*(made[j] for j in range(len(self.words))), strict=True)
        return torch.stack(made_codes, 1), torch.stack(values, 1)


def initialise(players: Players, generator: torch.Generator) -> None:
    """Normal weights from `generator` alone: variance 1 / fan-in, a quarter of it for heads, so that they start nearly even."""
    for name, weight in players.named_parameters():
        if name.endswith("bias"):
            nn.init.zeros_(weight)
        elif ".cells." in name:
            nn.init.normal_(weight, std=0.3, generator=generator)
        else:
            is_stacked = weight.ndim == 3
            nn.init.normal_(weight, std=(1.0 if is_stacked else 0.5) * weight.shape[1] ** -0.5, generator=generator)


def game(logits: Tensor, odds: Tensor, real: Tensor, penalty: float) -> tuple[Tensor, Tensor]:
    """The losses of generator and critic at one column of rows whose token is `real`, each (rows,), in nats.

    q = softmax(logits) is what the generator would draw, and the critic's log odds d (rows, tokens) rate every token, so both means
    over q are exact. The critic's loss is the logistic one, and `penalty` times the squared d of the real and of drawn tokens: what R1
    and R2 are where inputs are tokens and have no gradient. The generator's is KL(q exp(d) / Z, q) with d held fixed, its
    distance from where the critic sends it. Unlike the mean of d over q this pulls at a token that q has all but forgotten.
    """
    log_q = torch.log_softmax(logits, 1)
    q = log_q.detach().exp()
    of_real = odds.gather(1, real[:, None])[:, 0]
    of_critic = (
        F.softplus(-of_real) + penalty * of_real.square() + (q * (F.softplus(odds) + penalty * odds.square())).sum(1)
    )
    log_target = torch.log_softmax(log_q + odds, 1).detach()
    return (log_target.exp() * (log_target - log_q)).sum(1), of_critic


def _activated(x: Tensor) -> Tensor:
    return F.silu(F.layer_norm(x, x.shape[-1:]))
