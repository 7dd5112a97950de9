"""Rows of TableCodec as value tokens: a code, or for the numbers that are no atoms a coarse bin and then a fine one within it.

Bins hold about the same number of train rows each, a handful at least. A score is drawn evenly between its bin's bounds, so that none
stands for a single row; a number that far more rows share than its neighbours has a bin of its own, and comes out as that number.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import pyarrow as pa
import torch
from torch import Tensor

from synthmill.codecs.table import Part, TableCodec

_BINS = 1024  # at most, of a column
_ROWS_PER_BIN = 8
_COARSE = 32  # at most
_FAR = 12.0  # beyond any normal score
_SPARSE = 4.0  # few normal scores are beyond


@dataclass(frozen=True, slots=True)
class Bins:
    """The bins of one column's normal scores, ascending; `coarse` groups of `fine` bins each, the last one perhaps short."""

    edges: Tensor  # (bins - 1,), float64; a score on an edge belongs above it
    low: Tensor  # (bins,), float64: where draws begin
    high: Tensor  # (bins,), float64: and end

    @classmethod
    def fit(cls, scores: Tensor, most: int = _BINS, flats: Sequence[tuple[float, float]] = ()) -> Self:
        """Cut halfway between distinct scores, near even quantiles, into `most` at most; `scores` (rows,), at least one.

        Each of `flats` (see codecs.table.Part) is a bin of its own, whose draws are its middle; bins next to it may hold few rows.
        """
        distinct, counts = torch.unique(scores.double(), return_counts=True)
        starts, stops = torch.tensor([(-math.inf, -math.inf), *flats], dtype=torch.float64).T.contiguous()
        place = torch.searchsorted(starts, distinct, right=True) - 1
        is_flat = distinct < stops[place]
        bottoms, tops = torch.where(is_flat, starts[place], distinct), torch.where(is_flat, stops[place], distinct)
        quota = max(_ROWS_PER_BIN, math.ceil(len(scores) / most))
        lasts = torch.tensor(_ends(counts.tolist(), is_flat.tolist(), quota))
        firsts = torch.cat([torch.zeros(1, dtype=torch.int64), lasts[:-1] + 1])
        before, after = lasts[:-1], firsts[1:]
        halfway = (tops[before] + bottoms[after]) / 2
        at_flat = torch.where(is_flat[before], tops[before], bottoms[after])
        edges = torch.where(is_flat[before] == is_flat[after], halfway, at_flat)
        low, high = torch.cat([distinct[:1], edges]), torch.cat([edges, distinct[-1:]])
        alone, own = is_flat[firsts], distinct[firsts]
        return cls(edges, torch.where(alone, own, low), torch.where(alone, own, high))

    def __len__(self) -> int:
        return len(self.low)

    @property
    def fine(self) -> int:
        """How many fine bins a coarse one has."""
        return -(-len(self) // min(_COARSE, math.isqrt(len(self) - 1) + 1))

    @property
    def coarse(self) -> int:
        """How many coarse bins there are."""
        return -(-len(self) // self.fine)

    @property
    def bounds(self) -> Tensor:
        """Where fine bins begin and end, by coarse bin: (coarse, fine + 1), the first and the last far out; ascending also in the last
        coarse bin, where some fine ones may be missing."""
        missing = torch.arange(self.coarse * self.fine - len(self) + 1) + _FAR
        ends = torch.cat([torch.tensor([-_FAR]), self.edges, missing])
        return ends.unfold(0, self.fine + 1, self.fine)

    def of(self, scores: Tensor) -> Tensor:
        """The bin of each score."""
        return torch.searchsorted(self.edges, scores.double().contiguous(), right=True)

    def draw(self, bins: Tensor, uniforms: Tensor) -> Tensor:
        """A score within each bin, evenly."""
        low, high = self.low.to(bins.device)[bins], self.high.to(bins.device)[bins]
        return low + uniforms * (high - low)


def _ends(counts: Sequence[int], is_flat: Sequence[bool], quota: int) -> list[int]:
    """The last distinct score of each bin: it ends as soon as it holds `quota` rows, and around flats; what is left joins it."""
    ends, held = [], 0
    for index, (count, flat) in enumerate(zip(counts, is_flat, strict=True)):
        if flat and held:
            ends.append(index - 1)
            held = 0
        held += count
        if flat or held >= quota:
            ends.append(index)
            held = 0
    if held and ends and not is_flat[ends[-1]]:
        ends.pop()
    return [*(end for end in ends if end < len(counts) - 1), len(counts) - 1]


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """The tokens of one part: its codes without `free`, then its coarse bins."""

    part: Part
    bins: Bins | None  # None where the part has no `free`

    @property
    def codes(self) -> int:
        """How many tokens are codes."""
        return self.part.size - (self.bins is not None)

    @property
    def size(self) -> int:
        """How many tokens there are."""
        return self.codes + (self.bins.coarse if self.bins else 0)

    @property
    def codes_of_tokens(self) -> Tensor:
        """The code of each token, (tokens,), int64."""
        kept = [code for code in range(self.part.size) if code != self.part.free]
        return torch.tensor(kept + [self.part.free or 0] * (self.size - self.codes), dtype=torch.int64)

    @property
    def scores(self) -> list[float]:
        """The normal score of each token; 0 for coarse bins, whose values have their own."""
        kept = [score for code, score in enumerate(self.part.scores) if code != self.part.free]
        return kept + [0.0] * (self.size - self.codes)

    @property
    def is_ordered(self) -> bool:
        """True for numbers."""
        return self.bins is not None or any(self.part.scores)

    @property
    def ascending(self) -> slice:
        """Which tokens lie in order: coarse bins, or the atoms of a column of them."""
        if self.bins is not None:
            return slice(self.codes, self.size)
        has_missing = self.part.missing is not None
        return slice(0, self.size - has_missing if self.is_ordered else 0)

    @property
    def bounds(self) -> Tensor:
        """Between which scores each of the ascending tokens lies, and its fine bins: (tokens, fine + 1), ascending; atoms have no bins."""
        if self.bins is not None:
            return self.bins.bounds
        scores = torch.tensor(self.part.scores[self.ascending])
        ends = torch.cat([torch.tensor([-_FAR]), (scores[1:] + scores[:-1]) / 2, torch.tensor([_FAR])])
        return ends.unfold(0, 2, 1)

    @property
    def log_widths(self) -> Tensor:
        """(tokens,): how wide a coarse bin is in scores, in nats beside one at 0; all hold like shares of train, so far out they are wide.
        0 for codes."""
        log_widths = torch.zeros(self.size)
        if self.bins is not None:
            ends = self.bins.bounds[:, [0, -1]].clamp(-_SPARSE, _SPARSE)
            log_widths[self.codes :] = ends.mean(1).square() / 2  # minus the log density of normal scores
        return log_widths

    def tokens(self, codes: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """First token and fine bin (0 for codes) of each row, from (rows,) codes and normal scores."""
        if self.bins is None or self.part.free is None:
            return codes, torch.zeros_like(codes)
        is_free = codes == self.part.free
        return self._split(is_free, self.bins.of(values), codes - (codes > self.part.free).long())

    def cells(self, first: Tensor, fine: Tensor, uniforms: Tensor) -> tuple[Tensor, Tensor]:
        """Codes and normal scores of tokens, each (rows,); undoes `tokens` but for the place within a bin."""
        if self.bins is None or self.part.free is None:
            return first, torch.zeros_like(uniforms)
        is_free = first >= self.codes
        codes = torch.where(is_free, self.part.free, first + (first >= self.part.free).long())
        return codes, torch.where(is_free, self.bins.draw(self._joined(first, fine), uniforms), 0.0)

    def blurred(self, first: Tensor, fine: Tensor, ranks: Tensor) -> tuple[Tensor, Tensor]:
        """The same tokens with bins moved by `ranks`, shares of all bins; codes stay."""
        if self.bins is None:
            return first, fine
        moved = self._joined(first, fine) + (ranks * len(self.bins)).round().long()
        return self._split(first >= self.codes, moved.clamp(0, len(self.bins) - 1), first)

    def _joined(self, first: Tensor, fine: Tensor) -> Tensor:
        """The bins of tokens; some bin where the token is a code."""
        assert self.bins is not None
        return ((first - self.codes) * self.bins.fine + fine).clamp(0, len(self.bins) - 1)

    def _split(self, is_free: Tensor, bins: Tensor, otherwise: Tensor) -> tuple[Tensor, Tensor]:
        assert self.bins is not None
        first = torch.where(is_free, self.codes + bins // self.bins.fine, otherwise)
        return first, torch.where(is_free, bins % self.bins.fine, 0)


@dataclass(frozen=True, slots=True)
class RowTokens:
    """Rows as tokens, each (rows, parts)."""

    first: Tensor  # int64, or int32 where all of train is held
    fine: Tensor  # likewise, or int16
    scores: Tensor  # float32; 0 for labels and missing

    def __len__(self) -> int:
        return len(self.first)

    def take(self, rows: Tensor) -> RowTokens:
        """Some of the rows, as int64."""
        return RowTokens(self.first[rows].long(), self.fine[rows].long(), self.scores[rows])

    def packed(self) -> RowTokens:
        """The same in half the memory."""
        return RowTokens(self.first.int(), self.fine.short(), self.scores)

    def to(self, device: torch.device | str) -> RowTokens:
        """The same on another device."""
        return RowTokens(self.first.to(device), self.fine.to(device), self.scores.to(device))


def vocabularies(parts: Sequence[Part], codes: Tensor, values: Tensor) -> tuple[Vocabulary, ...]:
    """One for each part, with bins of the train rows `codes` and `values` (rows, parts)."""
    return tuple(
        Vocabulary(part, None if part.free is None else Bins.fit(values[codes[:, j] == part.free, j], flats=part.flats))
        for j, part in enumerate(parts)
    )


def row_tokens(words: Sequence[Vocabulary], codes: Tensor, values: Tensor) -> RowTokens:
    """Rows of a codec, (rows, parts) each, as tokens."""
    first, fine = (torch.stack(side, 1) for side in zip(*_pairs(words, codes, values), strict=True))
    columns = []
    for j, word in enumerate(words):
        of_tokens = torch.tensor(word.scores, dtype=torch.float64)[first[:, j]]
        columns.append(torch.where(first[:, j] < word.codes, of_tokens, values[:, j].double()))
    return RowTokens(first, fine, torch.stack(columns, 1).float())


def read_tokens(codec: TableCodec, table: pa.Table) -> tuple[tuple[Vocabulary, ...], RowTokens]:
    """Train's vocabularies and rows. What the codec gave, several times as large, is forgotten here."""
    encoded = codec.encode(table)
    words = vocabularies(codec.parts, encoded.codes, encoded.values)
    return words, row_tokens(words, encoded.codes, encoded.values).packed()


def _pairs(words: Sequence[Vocabulary], codes: Tensor, values: Tensor) -> list[tuple[Tensor, Tensor]]:
    return [word.tokens(codes[:, j], values[:, j]) for j, word in enumerate(words)]


def to_tensors(words: Sequence[Vocabulary]) -> dict[str, Tensor]:
    """All bins under names of their own, to be saved."""
    return {
        f"{j}.{name}": getattr(word.bins, name).contiguous()
        for j, word in enumerate(words)
        if word.bins is not None
        for name in ("edges", "low", "high")
    }


def from_tensors(parts: Sequence[Part], tensors: Mapping[str, Tensor]) -> tuple[Vocabulary, ...]:
    """What `to_tensors` gave, with the parts of the codec."""

    def bins(j: int) -> Bins:
        return Bins(tensors[f"{j}.edges"], tensors[f"{j}.low"], tensors[f"{j}.high"])

    return tuple(Vocabulary(part, None if part.free is None else bins(j)) for j, part in enumerate(parts))
