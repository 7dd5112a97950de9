"""Which codes of two columns go together: what train never has together, and not by chance, is not made together.

A network gives everything some probability, and the less it has seen of a combination of given cells, the more. But a level is a
function of its grade, and two cells are missing together: such rules hold in every row. They are read off the codes of train.
"""

from __future__ import annotations

import itertools
import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from synthmill.codecs.table import Part

_SURE = 20.0  # rows that chance would have given and train does not have: its odds are e^-20
_LARGEST = 2**16  # pairs of codes of two columns that are counted


@dataclass(frozen=True, slots=True)
class Possible:
    """What one part says of another, by (teller, told).

    A function has the told code for each of the teller's, (teller's codes,), -1 where train has none. A table says which codes go
    together, (teller's codes, told's codes).
    """

    sizes: tuple[int, ...]
    functions: Mapping[tuple[int, int], Tensor]
    tables: Mapping[tuple[int, int], Tensor]
    tellers: Mapping[int, Sequence[int]]

    @classmethod
    def of(
        cls,
        parts: Sequence[Part],
        functions: Mapping[tuple[int, int], Tensor],
        tables: Mapping[tuple[int, int], Tensor],
    ) -> Self:
        """With the tellers of each part looked up once."""
        tellers: dict[int, list[int]] = defaultdict(list)
        for teller, told in sorted({*functions, *((b, a) for a, b in functions), *tables}):
            tellers[told].append(teller)
        return cls(tuple(part.size for part in parts), functions, tables, dict(tellers))

    @classmethod
    def fit(cls, parts: Sequence[Part], codes: Tensor) -> Self:
        """Of train's codes (rows, parts), int64."""
        sizes, columns = [part.size for part in parts], codes.T.contiguous()
        functions, tables = {}, {}
        for a, b in itertools.combinations(range(len(parts)), 2):
            for teller, told in ((a, b), (b, a)):
                found = _function(columns[teller], columns[told], sizes[teller], sizes[told])
                if found is not None:
                    functions[teller, told] = found
            if (a, b) in functions or (b, a) in functions or sizes[a] * sizes[b] > _LARGEST:
                continue
            together = _together(columns[a], columns[b], sizes[a], sizes[b])
            if not together.all():
                tables[a, b], tables[b, a] = together, together.T.contiguous()
        return cls.of(parts, functions, tables)

    def restrict(self, logits: Tensor, told: int, codes: Tensor, known: Tensor, of_tokens: Tensor) -> Tensor:
        """Logits (rows, tokens) of part `told` without the tokens that the `known` codes (rows, parts) rule out.

        `of_tokens` (tokens,) has the code of each token. Rows of which nothing would be left, as what they give contradicts train, stay.
        """
        rules = [
            rule[:, of_tokens] | ~known[:, teller, None]
            for teller in self.tellers.get(told, ())
            for rule in self._rules(teller, told, codes[:, teller])
        ]
        if not rules:
            return logits
        is_possible = torch.stack(rules).all(0)
        is_possible |= ~is_possible.any(1, keepdim=True)
        return logits.masked_fill(~is_possible, -math.inf)

    def _rules(self, teller: int, told: int, codes: Tensor) -> Iterator[Tensor]:
        """Which codes of `told` go with these of `teller`, (rows, told's codes), by each that is known of the two."""
        if (answers := self.functions.get((teller, told))) is not None:
            answer = answers.to(codes.device)[codes, None]
            yield (answer == torch.arange(self.sizes[told], device=codes.device)) | (answer < 0)
        if (answers := self.functions.get((told, teller))) is not None:
            yield answers.to(codes.device) == codes[:, None]
        if (table := self.tables.get((teller, told))) is not None:
            yield table.to(codes.device)[codes]

    def to_tensors(self) -> dict[str, Tensor]:
        """Everything under names of its own, to be saved."""
        named = {"function": self.functions, "table": self.tables}
        return {f"{kind}.{a}.{b}": tensor for kind, pairs in named.items() for (a, b), tensor in pairs.items()}

    @classmethod
    def from_tensors(cls, parts: Sequence[Part], tensors: Mapping[str, Tensor]) -> Self:
        """What `to_tensors` gave, with the parts of the codec."""
        kinds: dict[str, dict[tuple[int, int], Tensor]] = defaultdict(dict)
        for name, tensor in tensors.items():
            kind, a, b = name.split(".")
            kinds[kind][int(a), int(b)] = tensor
        return cls.of(parts, kinds["function"], kinds["table"])


EVERYTHING = Possible.of((), {}, {})
"""Nothing is ruled out."""


def _function(teller: Tensor, told: Tensor, size: int, told_size: int) -> Tensor | None:
    """The map, where every row agrees with it and chance would not: rows that repeat a code of `teller` would often differ."""
    function = torch.full((size,), -1)
    function[teller] = told  # one of its rows' where these differ
    if told_size == 1 or not torch.equal(function[teller], told):
        return None
    repeats = len(teller) - int((function >= 0).sum())
    shares = torch.bincount(told, minlength=told_size) / len(told)
    return function if repeats * (1 - shares.square().sum().item()) >= _SURE else None


def _together(a: Tensor, b: Tensor, size_a: int, size_b: int) -> Tensor:
    """False for the pairs of codes that train would have by chance, (codes of a, codes of b)."""
    counts = torch.bincount(a * size_b + b, minlength=size_a * size_b).view(size_a, size_b)
    expected = counts.sum(1, keepdim=True) * (counts.sum(0, keepdim=True) / len(a))
    return (counts > 0) | (expected < _SURE)
