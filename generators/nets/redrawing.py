"""Rows are proposed until a refiner takes them, in batches of one size, by the noise of their own attempts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from generators.nets.refiner import Cells, Refiner
from synthmill import seeds

_CHUNK = 512  # proposals that are drawn together after the first ones
_STEPS, _TAKING = 32, 31  # steps of an attempt's noise, and the one that says whether it is taken

Rows = NDArray[np.int64]
"""Places in the micro-batch, (proposals,)."""


@dataclass(frozen=True, slots=True)
class Draws:
    """The noise of proposals: of some candidates under a key, each at one of its attempts. A step is drawn from once, and below 31."""

    key: int
    candidates: NDArray[np.int64]
    attempts: NDArray[np.int64]

    @classmethod
    def first(cls, key: int, candidates: NDArray[np.int64]) -> Self:
        """Of first attempts."""
        return cls(key, candidates, np.zeros_like(candidates))

    def again(self, rows: Rows, attempts: NDArray[np.int64]) -> Draws:
        """Of other attempts of some of the rows."""
        return Draws(self.key, self.candidates[rows], attempts)

    def uniforms(self, step: int, size: int, device: torch.device) -> Tensor:
        """(candidates, size), float64, in the open interval (0, 1)."""
        steps = _STEPS * self.attempts + step
        return torch.from_numpy(seeds.uniforms(self.key, self.candidates, steps, size)).to(device)

    def normals(self, step: int, size: int, device: torch.device) -> Tensor:
        """(candidates, size), float32."""
        steps = _STEPS * self.attempts + step
        return torch.from_numpy(seeds.normals(self.key, self.candidates, steps, size)).to(device, torch.float32)


@dataclass(frozen=True, slots=True)
class Redrawing:
    """One micro-batch: who says what is taken, how rows are drawn and put on their grids, and what each row was given."""

    refiner: Refiner
    draw: Callable[[Draws, Tensor, Tensor, Tensor], Cells]  # of noise, given codes, given values, and which are given
    settle: Callable[[Cells], Cells]
    draws: Draws
    given: Cells
    seen: Tensor  # (rows, parts), on the CPU

    def run(self, made: Cells, tries: int) -> Cells:
        """`made`, with each row that is not taken replaced by the first proposal that is, or by the last of `tries`.

        Where few rows wait, several attempts of each are proposed at once; which one is taken does not depend on that.
        """
        device = made[0].device
        codes, values = (cells.cpu() for cells in made)
        everyone = np.arange(len(codes))
        waiting = everyone[~self._takes(everyone, self.draws, (codes, values))]
        attempt = 1
        while len(waiting) and attempt < tries:
            ahead = min(tries - attempt, max(1, _CHUNK // len(waiting)))
            rows, attempts = np.repeat(waiting, ahead), np.tile(np.arange(attempt, attempt + ahead), len(waiting))
            proposed = self._proposed(rows, attempts, device)
            attempt += ahead
            taken = self._takes(rows, self.draws.again(rows, attempts), proposed).reshape(-1, ahead)
            taken[:, -1] |= attempt == tries
            is_done = taken.any(1)
            chosen = torch.from_numpy((np.arange(len(waiting)) * ahead + taken.argmax(1))[is_done])
            done = torch.from_numpy(waiting[is_done])
            codes[done], values[done] = proposed[0][chosen], proposed[1][chosen]
            waiting = waiting[~is_done]
        return codes, values

    def _takes(self, rows: Rows, draws: Draws, proposed: Cells) -> NDArray[np.bool_]:
        """Whether each proposal for these rows is taken, given cells in their places."""
        places = torch.from_numpy(rows)
        codes, values = (
            torch.where(self.seen[places], old[places], new) for old, new in zip(self.given, proposed, strict=True)
        )
        return self.refiner.takes(self.settle((codes, values)), draws.uniforms(_TAKING, 1, codes.device)[:, 0].numpy())

    def _proposed(self, rows: Rows, attempts: NDArray[np.int64], device: torch.device) -> Cells:
        """Proposals in pieces of one size, the last one filled up: a proposal's bits do not depend on how many others there are."""
        padded = np.arange(-(-len(rows) // _CHUNK) * _CHUNK) % len(rows)
        pieces = []
        for piece in np.split(padded, len(padded) // _CHUNK):
            places = torch.from_numpy(rows[piece])
            codes, values = (cells[places] for cells in self.given)
            new = self.draw(self.draws.again(rows[piece], attempts[piece]), codes, values, self.seen[places].to(device))
            pieces.append((new[0].cpu(), new[1].cpu()))
        codes, values = (torch.cat(cells)[: len(rows)] for cells in zip(*pieces, strict=True))
        return codes, values
