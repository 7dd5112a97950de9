"""Id-like columns: not encoded at all, made anew in the shape of train's, and never one of train's.

A made id is a function of (key, candidate). Strings follow a template: at each position the one character that all of train's ids share, or
any of the kinds of character seen there. The last positions, wide enough for 2^53 ids, count through what train does not use; those
before them are drawn. So ids of one stratum never meet, and those of two strata hardly ever.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from synthmill.codecs.cells import Json, refuse
from synthmill.columns import Column
from synthmill.seeds import derive, uniforms

_WIDE = 1 << 53  # so wide that strata do not meet, and every number is exact as a double too
_DIGITS, _HEX = "0123456789", "abcdef"
_LOWER = "abcdefghijklmnopqrstuvwxyz"


@dataclass(frozen=True, slots=True)
class IdColumn:
    """`start` belongs to integers, `alphabets` (one a position) to strings; `taken` are the ascending numbers of train's ids."""

    column: Column
    start: int
    alphabets: tuple[str, ...]
    counted: int  # how many of the last positions count
    taken: NDArray[np.int64]

    @classmethod
    def fit(cls, column: Column, cells: pa.Array) -> Self:
        """Learn the shape of train's ids, or for integers where free ones begin."""
        ids = cells.drop_null()
        none_taken = np.zeros(0, dtype=np.int64)
        if column.dtype == "int64":
            return cls(column, _free_start(column, ids.to_numpy()), (), 0, none_taken)
        if column.dtype != "string":
            refuse(column, len(cells), f"ids of dtype {column.dtype}: only int64 and string can be made anew")
        texts = ids.to_pylist()
        alphabets = _template(texts)
        counted = next(n for n in range(1, len(alphabets) + 1) if _capacity(alphabets[-n:]) >= _WIDE)
        tail = alphabets[-counted:]
        taken = {_number(text[-counted:], tail) for text in texts if len(text) == len(alphabets)} - {-1}
        return cls(column, 0, alphabets, counted, np.array(sorted(taken), dtype=np.int64))

    def make(self, key: int, candidates: NDArray[np.int64]) -> pa.Array:
        """One id a candidate, none of them in train."""
        key = derive(key, "id", self.column.name)
        numbers = self._free_numbers(key, candidates)
        if not self.alphabets:
            return pa.array(self.start + numbers)
        letters = np.empty((len(candidates), len(self.alphabets)), dtype="<U1")
        drawn = uniforms(key, candidates, 0, len(self.alphabets))
        for position in reversed(range(len(self.alphabets))):
            alphabet = np.array(list(self.alphabets[position]))
            if position >= len(self.alphabets) - self.counted:
                numbers, digit = np.divmod(numbers, len(alphabet))
            else:
                digit = (drawn[:, position] * len(alphabet)).astype(np.int64)
            letters[:, position] = alphabet[digit]
        return pa.array(["".join(row) for row in letters])

    def _free_numbers(self, key: int, candidates: NDArray[np.int64]) -> NDArray[np.int64]:
        """A walk with a stride without common divisor visits every free number once; then step over the taken ones."""
        capacity = _capacity(self.alphabets[-self.counted :]) if self.alphabets else _WIDE
        free = capacity - len(self.taken)
        stride = key % (1 << 20) + 1
        while math.gcd(stride, free) > 1:
            stride += 1
        walk = (key % free + candidates * stride) % free  # candidates stay below 2^40
        return walk + np.searchsorted(self.taken - np.arange(len(self.taken)), walk, side="right")

    def to_json(self) -> tuple[Json, dict[str, NDArray[np.generic]]]:
        """Scalars for JSON and arrays for safetensors."""
        return {"start": self.start, "alphabets": list(self.alphabets), "counted": self.counted}, {"taken": self.taken}

    @classmethod
    def from_json(cls, column: Column, scalars: Json, arrays: dict[str, NDArray[np.generic]]) -> Self:
        """What `to_json` gave."""
        return cls(column, scalars["start"], tuple(scalars["alphabets"]), scalars["counted"], arrays["taken"])  # type: ignore


def _free_start(column: Column, ids: NDArray[np.int64]) -> int:
    lowest, highest = (int(ids.min()), int(ids.max())) if len(ids) else (0, 0)
    if highest < 2**63 - 1 - _WIDE:
        return highest + 1
    if lowest < -(2**63) + _WIDE:
        refuse(column, len(ids), "integer ids from end to end of int64, which leaves none to make")
    return lowest - _WIDE


def _template(texts: Iterable[str]) -> tuple[str, ...]:
    """An alphabet a position for the commonest length, with digits behind it until it is wide enough to count in."""
    texts = list(texts)
    lengths = Counter(map(len, texts))
    length = min(lengths, key=lambda n: (-lengths[n], n), default=0)
    positions = zip(*(text for text in texts if len(text) == length), strict=True)
    alphabets = [_alphabet(set(letters)) for letters in positions]
    while _capacity(alphabets) < _WIDE:
        alphabets.append(_DIGITS)
    return tuple(alphabets)


def _alphabet(letters: set[str]) -> str:
    if len(letters) == 1:
        return next(iter(letters))
    has_digits = bool(letters & set(_DIGITS))
    alphabet = _DIGITS if has_digits else ""
    for small, hexadecimal in ((_LOWER, _HEX), (_LOWER.upper(), _HEX.upper())):
        if found := letters & set(small):
            alphabet += hexadecimal if has_digits and found <= set(hexadecimal) else small
    return alphabet + "".join(sorted(letters - set(_DIGITS + _LOWER + _LOWER.upper())))


def _capacity(alphabets: Iterable[str]) -> int:
    return math.prod(map(len, alphabets))


def _number(text: str, alphabets: tuple[str, ...]) -> int:
    """The number that counts up to `text`, the last position running fastest; -1 where it does not follow the template."""
    number = 0
    for letter, alphabet in zip(text, alphabets, strict=True):
        if letter not in alphabet:
            return -1
        number = number * len(alphabet) + alphabet.index(letter)
    return number
