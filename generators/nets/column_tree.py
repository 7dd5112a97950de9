"""A tree for one part of encoded rows given others, in the form of TableCodec: what it splits by, and what it tells apart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Self

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from generators.nets.cart import Arrays, Cells, Leaves, Splits, arrays_of
from generators.nets.label_scores import MOST_CLASSES, classes, label_scores

_SHARED = 5  # a number that so many rows of train share is drawn as it is
_MISSING = -20.0  # far below every normal score
_ROWS_PER_CODE = 8  # on average, for a function of codes to be more than chance
_FIRST_LOOK = 1000  # rows
_WAVES = 4  # cosines by which distributions are compared
_SHARE = 0.5  # of the rows, that each tree is grown on
_RIDGE = 1e-3  # of the variance
_TINY = 1e-9  # beside a standard deviation that can be 0
_BUCKETS = 8  # of labels, where a column of very many labels is compared with them
MOST_INPUTS = 32  # features that one tree looks at
_NOTHING = np.empty(0)

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
        return cls(size, -1, _NOTHING, _NOTHING)

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

    def is_function_of(self, other: Alphabet, own: Cells, others: Cells) -> bool:
        """Does a code of the other part leave no choice? Only where codes have several rows each, or chance would do it."""
        if other.size * _ROWS_PER_CODE > len(own.codes):
            return False
        known = np.zeros(other.size, np.int64)
        for rows in (slice(_FIRST_LOOK), slice(None)):  # most pairs are told by a few rows
            known[others.codes[rows]] = own.codes[rows]
            if not np.array_equal(known[others.codes[rows]], own.codes[rows]):
                return False
        return self.free not in own.codes and other.free not in others.codes

    def feature(self, cells: Cells, scores: Numbers) -> NDArray[np.float32]:
        """What a threshold is compared with, (rows,): a score by code, and a free number's own."""
        found = scores[cells.codes]
        return np.where(cells.codes == self.free, cells.values, found).astype(np.float32)


@dataclass(frozen=True, slots=True)
class Growth:
    """How trees are grown."""

    leaf: int
    trees: int
    seed: int


@dataclass(frozen=True, slots=True)
class Draw:
    """What cells of one part are drawn with: three uniforms a row, (rows, 3), and the sampling params."""

    uniforms: Numbers
    smoothing: float
    temperature: float


@dataclass(frozen=True, slots=True)
class Question:
    """One feature: a part, and the number that stands for each of its codes."""

    part: int
    scores: Numbers

    def ask(self, rows: Sequence[Cells], alphabets: Sequence[Alphabet]) -> NDArray[np.float32]:
        """Of rows in which the part is known; (rows,)."""
        return alphabets[self.part].feature(rows[self.part], self.scores)


@dataclass(frozen=True, slots=True)
class ColumnTrees:
    """One part given what its `questions` ask, and sums of these with the weights `blends`, for splits across them."""

    questions: tuple[Question, ...]
    blends: NDArray[np.float32]  # (2 * questions, blends): of the answers, then of their squares
    splits: Splits
    leaves: Leaves
    heights: Numbers  # of the leaves, at the temperature of the draws

    @classmethod
    def grow(
        cls,
        rows: Sequence[Cells],
        alphabets: Sequence[Alphabet],
        part: int,
        inputs: Sequence[int],
        growth: Growth,
        temperature: float,
    ) -> Self:
        """`rows` are train's cells by part; a tree's leaf has `growth.leaf` of them or more, but for the chance of its share."""
        cells, alphabet = rows[part], alphabets[part]
        for i in inputs:
            if alphabet.is_function_of(alphabets[i], cells, rows[i]):
                return cls._function(rows, alphabets, part, i, temperature)
        answers = _answers(cells, alphabet, [rows[i] for i in inputs], [alphabets[i] for i in inputs])
        outputs = _one_hot(answers) if answers.ndim == 1 else answers
        questions = [question for i in inputs for question in _questions(i, rows[i], alphabets[i], outputs)]
        asked = [question.ask(rows, alphabets) for question in questions]
        kept = _strongest(asked, outputs)
        named = alphabet.name_shared(cells)
        if not kept:
            leaves = Leaves.fill(np.zeros(len(cells.codes), np.int64), named, alphabet.free)
            return cls((), np.zeros((0, 0), np.float32), Splits.none(), leaves, leaves.heights(temperature))
        matrix = np.stack([asked[k] for k in kept], 1)
        blends = _blends(matrix, outputs) if alphabet.free >= 0 else np.zeros((2 * len(kept), 0), np.float32)
        matrix = _blended(matrix, blends)
        splits = Splits.grow(matrix, answers, trees=growth.trees, share=_SHARE, leaf=growth.leaf, seed=growth.seed)
        every_tree = np.repeat(np.arange(growth.trees), len(matrix))
        leaf_of = splits.leaves_of(np.tile(matrix, (growth.trees, 1)), every_tree)
        tiled = Cells(np.tile(named.codes, growth.trees), np.tile(named.values, growth.trees))
        leaves = Leaves.fill(leaf_of, tiled, alphabet.free)
        return cls(tuple(questions[k] for k in kept), blends, splits, leaves, leaves.heights(temperature))

    @classmethod
    def _function(
        cls, rows: Sequence[Cells], alphabets: Sequence[Alphabet], part: int, of: int, temperature: float
    ) -> Self:
        """A tree that knows the code of `part` for every code of the part `of`."""
        question = Question(of, np.arange(alphabets[of].size, dtype=np.float64))
        matrix = question.ask(rows, alphabets)[:, None]
        answers = rows[part].codes[:, None].astype(np.float64)
        splits = Splits.grow(matrix, answers, trees=1, share=1, leaf=1, seed=0)
        leaf_of = splits.leaves_of(matrix, np.zeros(len(matrix), np.int64))
        leaves = Leaves.fill(leaf_of, rows[part], alphabets[part].free)
        return cls((question,), np.zeros((2, 0), np.float32), splits, leaves, leaves.heights(temperature))

    def draw(self, rows: Sequence[Cells], alphabets: Sequence[Alphabet], part: int, draw: Draw) -> Cells:
        """Cells for rows in which all that is asked is known."""
        by_code, by_value, by_tree = draw.uniforms.T
        leaf_of = np.zeros(len(by_tree), np.int64)
        if self.questions:
            matrix = np.stack([question.ask(rows, alphabets) for question in self.questions], 1)
            trees = (by_tree * len(self.splits.roots)).astype(np.int64)
            leaf_of = self.splits.leaves_of(_blended(matrix, self.blends), trees)
        codes = self.leaves.draw_codes(leaf_of, by_code, self.heights)
        values = np.zeros(len(codes))
        is_free = codes == alphabets[part].free
        values[is_free] = self.leaves.draw_values(leaf_of[is_free], by_value[is_free], draw.smoothing, draw.temperature)
        return alphabets[part].plain(Cells(codes, values))

    def arrays(self) -> Arrays:
        """All but the parts that are asked, for safetensors."""
        scores = {f"scores.{i}": question.scores for i, question in enumerate(self.questions)}
        return {**arrays_of(self.splits, "splits"), **arrays_of(self.leaves, "leaves"), **scores, "blends": self.blends}

    @classmethod
    def from_arrays(cls, parts: Sequence[int], arrays: Arrays, temperature: float) -> Self:
        """What `arrays` gave, and the parts that are asked."""
        splits = Splits(*(arrays[f"splits.{field.name}"] for field in fields(Splits)))
        leaves = Leaves(*(arrays[f"leaves.{field.name}"] for field in fields(Leaves)))
        questions = tuple(Question(part, arrays[f"scores.{i}"]) for i, part in enumerate(parts))
        return cls(questions, arrays["blends"], splits, leaves, leaves.heights(temperature))


def _questions(part: int, cells: Cells, alphabet: Alphabet, outputs: Numbers) -> list[Question]:
    """Numbers have an order of their own; labels one or two by what they say of the outputs."""
    if alphabet.is_number:
        return [Question(part, alphabet.scores)]
    return [
        Question(part, scores) for scores in np.ascontiguousarray(label_scores(cells.codes, alphabet.size, outputs).T)
    ]


def _blends(matrix: NDArray[np.float32], outputs: Numbers) -> NDArray[np.float32]:
    """Weights of ridge regressions of the outputs on the answers and their squares."""
    terms = _terms(matrix).astype(np.float64)
    scale = terms.std(0) + _TINY
    terms = (terms - terms.mean(0)) / scale
    covariance = terms.T @ terms + _RIDGE * len(terms) * np.eye(len(scale))
    weights = np.linalg.solve(covariance, terms.T @ (outputs - outputs.mean(0)))
    return (weights / scale[:, None]).astype(np.float32)


def _blended(matrix: NDArray[np.float32], blends: NDArray[np.float32]) -> NDArray[np.float32]:
    """The matrix and its blends beside it. Summed term by term: the bits of a matrix product depend on its other rows."""
    if not blends.shape[1]:
        return matrix
    sums = np.zeros((len(matrix), blends.shape[1]), np.float32)
    for term, weights in zip(_terms(matrix).T, blends, strict=True):
        sums += term[:, None] * weights
    return np.concatenate([matrix, sums], 1)


def _terms(matrix: NDArray[np.float32]) -> NDArray[np.float32]:
    """The answers and their squares, 0 where a number is missing."""
    known = np.where(matrix == _MISSING, np.float32(0), matrix)
    return np.concatenate([known, known**2], 1)


def _answers(
    cells: Cells, alphabet: Alphabet, inputs: Sequence[Cells], of_inputs: Sequence[Alphabet]
) -> NDArray[np.generic]:
    """What splits tell apart: classes (rows,) of labels, or waves (rows, outputs) over the ranks of numbers."""
    if alphabet.is_number:
        return _waves(alphabet.feature(cells, alphabet.scores))
    if not inputs or alphabet.size <= MOST_CLASSES:
        return cells.codes
    profile = [
        own.feature(c, own.scores)[:, None] if own.is_number else _one_hot(c.codes % _BUCKETS)
        for c, own in zip(inputs[:MOST_INPUTS], of_inputs, strict=False)
    ]
    return classes(cells.codes, alphabet.size, np.concatenate(profile, 1))


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
    if len(features) <= MOST_INPUTS:
        return list(range(len(features)))
    matrix = np.stack(features, 1).astype(np.float64)
    matrix -= matrix.mean(0)
    strength = np.abs(matrix.T @ (outputs - outputs.mean(0))) / (outputs.std(0) + 1e-12)
    strength = strength.max(1) / (matrix.std(0) + 1e-12)
    return sorted(np.argsort(-strength, kind="stable")[:MOST_INPUTS].tolist())
