"""Proposals of a network are taken or made again by the odds that boosted trees give them of being rows of train.

A network smooths what trees see at once: a threshold, an empty corner, a sum that two columns keep. The odds d of a classifier of train
against proposals estimate p / q, so that taking a proposal with probability proportional to d turns q into p: Azadi et al.,
"Discriminator rejection sampling" (ICLR 2019); Grover et al., "Bias correction of learned generative models using likelihood-free
importance weighting" (NeurIPS 2019), here with XGBoost on codes and scores. Its number of trees is what serves held-out rows best, so
it says nothing where it can tell nothing. Given cells stay, as odds are compared among proposals for one row alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file
from torch import Tensor

from synthmill.codecs.table import Part
from synthmill.trees import Settings, Trees, fit_trees, rounds_that_serve

LEAST_ROWS = 1_000
"""With fewer rows of train the trees learn their accidents."""
MOST_ROWS = 50_000
"""Of train; more make the trees no better."""
_PROPOSALS, _MOST_PROPOSALS = 3, 100_000  # for each row of train, and at most
_SETTINGS = Settings(
    objective="binary:logistic",
    rounds=1_000,
    max_depth=6,
    eta=0.1,
    subsample=0.7,
    min_child_weight=10.0,
    reg_lambda=5.0,
    colsample_bytree=0.7,
)
_MANY = 8  # columns, from which on a tree does with some: of two it could not see that they go together
_LARGEST = 0.97  # of the proposals have odds below those that are always taken
_MOST_LABELS = 64  # of a column that is split by sets of labels; more are ordered
_FILE = "refiner.safetensors"

Cells = tuple[Tensor, Tensor]
"""Codes and values, (rows, parts) each."""
Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Refiner:
    """The trees, and the log odds from which on every proposal is taken."""

    parts: tuple[Part, ...]
    trees: Trees
    bound: float

    @classmethod
    def fit(
        cls, parts: Sequence[Part], train: Cells, proposals: Iterator[Cells], *, seed: int, on_round: Callable[[], bool]
    ) -> Self | None:
        """None where proposals or rows of train are too few. `on_round` is called after each tree, and ends the fit when true."""
        real = _features(parts, train)
        wanted = min(_PROPOSALS * len(real), _MOST_PROPOSALS)
        made = _gathered(parts, proposals, wanted + len(real) // 2)
        if len(real) < LEAST_ROWS or len(made) < len(real):
            return None
        made, fresh = np.split(made, [-(len(real) // 2)])
        rows = np.concatenate([real, made])
        is_real = np.repeat([1.0, 0.0], [len(real), len(made)])
        weights = np.repeat([1.0, len(real) / len(made)], [len(real), len(made)])
        kinds = [_kind(part) for part in parts]
        most = _SETTINGS if len(parts) >= _MANY else replace(_SETTINGS, colsample_bytree=1.0)
        settings = rounds_that_serve(rows, is_real, weights, kinds, most, seed=seed, on_round=on_round)
        trees = fit_trees(rows, is_real, kinds, settings, seed=seed, weights=weights)
        return cls(tuple(parts), trees, float(np.quantile(trees.log_odds(fresh), _LARGEST)))

    def takes(self, cells: Cells, uniforms: Floats) -> NDArray[np.bool_]:
        """Which proposals are taken, (rows,), by uniforms in (0, 1), (rows,)."""
        odds = self.trees.log_odds(_features(self.parts, cells)).astype(np.float64)
        return np.log(uniforms) < odds - self.bound

    def save(self, folder: Path) -> None:
        """One file."""
        arrays = {"trees": self.trees.to_bytes(), "bound": np.array([self.bound])}
        save_file(arrays, folder / _FILE)

    @classmethod
    def load(cls, folder: Path, parts: Sequence[Part]) -> Self | None:
        """What `save` wrote; None where it wrote nothing."""
        if not (folder / _FILE).exists():
            return None
        arrays = load_file(folder / _FILE)
        trees = Trees.from_bytes(arrays["trees"], [_kind(part) for part in parts])
        return cls(tuple(parts), trees, float(arrays["bound"].item()))


def _is_number(part: Part) -> bool:
    return part.free is not None or any(part.scores)


def _kind(part: Part) -> str:
    return "c" if not _is_number(part) and part.size <= _MOST_LABELS else "q"


def _features(parts: Sequence[Part], cells: Cells) -> NDArray[np.float32]:
    """(rows, parts): scores of numbers, none where they are missing, and codes of labels."""
    codes, values = cells[0].cpu().numpy(), cells[1].cpu().numpy()
    found = np.empty(codes.shape, dtype=np.float32)
    for j, part in enumerate(parts):
        if not _is_number(part):
            found[:, j] = codes[:, j]
            continue
        scores = np.array(part.scores, dtype=np.float32)
        if part.missing is not None:
            scores[part.missing] = math.nan
        found[:, j] = np.where(codes[:, j] == part.free, values[:, j], scores[codes[:, j]])
    return found


def _gathered(parts: Sequence[Part], proposals: Iterator[Cells], wanted: int) -> NDArray[np.float32]:
    """Features of the first `wanted` proposals, or of as many as there are."""
    found: list[NDArray[np.float32]] = [np.empty((0, len(parts)), dtype=np.float32)]
    while sum(map(len, found)) < wanted and (cells := next(proposals, None)) is not None:
        found.append(_features(parts, cells))
    return np.concatenate(found)[:wanted]
