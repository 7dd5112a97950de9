"""A tree for one part of encoded rows given others, in the form of TableCodec: what it splits by, and what it tells apart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Self

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from generators.nets.cart import Arrays, Cells, Leaves, Splits, arrays_of
from generators.nets.label_scores import classes, label_scores

_SHARED = 5  # a number that so many rows of train share is drawn as it is
_MISSING = -20.0  # far below every normal score
_WAVES = 4
_MOST_INPUTS = 32
NOTHING = np.empty(0)

Numbers = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Alphabet:
    """A part as trees see it. Codes from `size` on are the numbers that several rows share."""

    size: int
    free: int  # -1 where there is none
    scores: Numbers  # (size,): the place of each code among the numbers; empty for labels, which have no order
    shared: Numbers  # scores, ascending

    @property
    def is_number(self) -> bool:
        """False for labels."""
        return len(self.scores) > 0

    @classmethod
    def of_labels(cls, size: int) -> Self:
        """So many labels."""
        return cls(size, -1, NOTHING, NOTHING)

    @classmethod
    def of_numbers(cls, scores: Sequence[float], free: int | None, missing: int, train: Cells) -> Self:
        """`scores` of the codes as the codec gives them; `missing` is the code of missing numbers, or -1."""
        known = np.array(scores)
        if missing >= 0:
            known[missing] = _MISSING
        free = -1 if free is None else free
        found, counts = np.unique(train.values[train.codes == free], return_counts=True)
        return cls(len(known), free, known, found[counts >= _SHARED])

    def name_shared(self, cells: Cells) -> Cells:
        """The cells with codes for the shared numbers too."""
        if not len(self.shared):
            return cells
        place = np.searchsorted(self.shared, cells.values).clip(max=len(self.shared) - 1)
        is_shared = (cells.codes == self.free) & (self.shared[place] == cells.values)
        return Cells(np.where(is_shared, self.size + place, cells.codes), cells.values)

    def plain(self, cells: Cells) -> Cells:
        """Undoes `name_shared`."""
        if not len(self.shared):
            return cells
        is_shared = cells.codes >= self.size
        place = np.where(is_shared, cells.codes - self.size, 0)
        return Cells(np.where(is_shared, self.free, cells.codes), np.where(is_shared, self.shared[place], cells.values))

    def feature(self, cells: Cells, scores: Numbers) -> NDArray[np.float32]:
        """What a threshold is compared with, (rows,): a score by code, and a free number's own."""
        found = scores[cells.codes]
        return np.where(cells.codes == self.free, cells.values, found).astype(np.float32)


@dataclass(frozen=True, slots=True)
class ColumnTree:
    """One part given `inputs`. `scores[i]` are the numbers that stand for the codes of input i."""

    inputs: tuple[int, ...]
    scores: tuple[Numbers, ...]
    splits: Splits
    leaves: Leaves
    heights: Numbers

    @classmethod
    def grow(
        cls,
        rows: Sequence[Cells],
        alphabets: Sequence[Alphabet],
        part: int,
        inputs: Sequence[int],
        *,
        leaf: int,
        seed: int,
        temperature: float,
    ) -> Self:
        """`rows` are train's cells by part; a leaf has at least `leaf` of them."""
        cells, alphabet = rows[part], alphabets[part]
        named = alphabet.name_shared(cells)
        answers = _answers(cells, alphabet, [rows[i] for i in inputs], [alphabets[i] for i in inputs])
        outputs = _one_hot(answers) if answers.ndim == 1 else answers
        scores = tuple(
            alphabets[i].scores if alphabets[i].is_number else label_scores(rows[i].codes, alphabets[i].size, outputs)
            for i in inputs
        )
        features = [alphabets[i].feature(rows[i], own) for i, own in zip(inputs, scores, strict=True)]
        kept = _strongest(features, outputs)
        if kept:
            matrix = np.stack([features[k] for k in kept], 1)
            splits = Splits.grow(matrix, answers, leaf=leaf, seed=seed)
            leaf_of = splits.leaves_of(matrix)
        else:
            splits, leaf_of = Splits.none(), np.zeros(len(cells.codes), np.int64)
        leaves = Leaves.fill(leaf_of, named, alphabet.free)
        return cls(
            tuple(inputs[k] for k in kept), tuple(scores[k] for k in kept), splits, leaves, leaves.heights(temperature)
        )

    def draw(
        self,
        rows: Sequence[Cells],
        alphabets: Sequence[Alphabet],
        part: int,
        uniforms: Numbers,
        *,
        smoothing: float,
        temperature: float,
    ) -> Cells:
        """Cells for rows whose inputs are known; `uniforms` is (rows, 2)."""
        if self.inputs:
            pairs = zip(self.inputs, self.scores, strict=True)
            leaf_of = self.splits.leaves_of(np.stack([alphabets[i].feature(rows[i], own) for i, own in pairs], 1))
        else:
            leaf_of = np.zeros(len(uniforms), np.int64)
        codes = self.leaves.draw_codes(leaf_of, uniforms[:, 0], self.heights)
        values = np.zeros(len(codes))
        is_free = codes == alphabets[part].free
        values[is_free] = self.leaves.draw_values(leaf_of[is_free], uniforms[is_free, 1], smoothing, temperature)
        return alphabets[part].plain(Cells(codes, values))

    def arrays(self) -> Arrays:
        """All but `inputs`, for safetensors."""
        scores = {f"scores.{i}": own for i, own in enumerate(self.scores)}
        return {**arrays_of(self.splits, "splits"), **arrays_of(self.leaves, "leaves"), **scores}

    @classmethod
    def from_arrays(cls, inputs: Sequence[int], arrays: Arrays, temperature: float) -> Self:
        """What `arrays` gave."""
        splits = Splits(*(arrays[f"splits.{field.name}"] for field in fields(Splits)))
        leaves = Leaves(*(arrays[f"leaves.{field.name}"] for field in fields(Leaves)))
        scores = tuple(arrays[f"scores.{i}"] for i in range(len(inputs)))
        return cls(tuple(inputs), scores, splits, leaves, leaves.heights(temperature))


def _answers(
    cells: Cells, alphabet: Alphabet, inputs: Sequence[Cells], of_inputs: Sequence[Alphabet]
) -> NDArray[np.generic]:
    """What splits tell apart: classes (rows,) of labels, or waves (rows, outputs) over the ranks of numbers."""
    if alphabet.is_number:
        return _waves(alphabet.feature(cells, alphabet.scores))
    if not inputs:
        return cells.codes
    profile = [
        alphabet.feature(c, alphabet.scores)[:, None] if alphabet.is_number else _one_hot(c.codes % _MOST_INPUTS)
        for c, alphabet in zip(inputs, of_inputs, strict=True)
    ]
    return classes(cells.codes, alphabet.size, profile)


def _waves(numbers: NDArray[np.float32]) -> Numbers:
    """The first cosines over ranks, as which two distributions differ if their means, spreads or shapes do; and missing apart."""
    place = np.pi * (rankdata(numbers) - 0.5) / len(numbers)
    waves = [np.cos(k * place) for k in range(1, _WAVES + 1)]
    is_missing = numbers == _MISSING
    return np.stack([*waves, is_missing] if is_missing.any() else waves, 1)


def _one_hot(codes: NDArray[np.int64]) -> Numbers:
    return (codes[:, None] == np.unique(codes)).astype(np.float64)


def _strongest(features: Sequence[NDArray[np.float32]], outputs: Numbers) -> list[int]:
    """At most 32 features: those that go best with any of the answers."""
    if len(features) <= _MOST_INPUTS:
        return list(range(len(features)))
    matrix = np.stack(features, 1).astype(np.float64)
    matrix -= matrix.mean(0)
    strength = np.abs(matrix.T @ (outputs - outputs.mean(0))) / (outputs.std(0) + 1e-12)
    strength = strength.max(1) / (matrix.std(0) + 1e-12)
    return sorted(np.argsort(-strength, kind="stable")[:_MOST_INPUTS].tolist())
