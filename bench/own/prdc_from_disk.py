"""Precision, recall, density and coverage of real.npy and fake.npy, of which only the rows in use are in memory."""

import os
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bench.own.timing import print_run
from synthmill.neighbours import prdc


@dataclass(frozen=True, slots=True)
class Stored:
    """The vectors of a .npy file, mapped anew for each question: what was read does not stay."""

    path: Path

    @property
    def shape(self) -> tuple[int, ...]:
        return np.load(self.path, mmap_mode="r").shape

    def __getitem__(self, rows: slice | NDArray[np.int64], /) -> NDArray[np.float32]:
        return np.asarray(np.load(self.path, mmap_mode="r")[rows])


real, fake = (Stored(Path(sys.argv[1]) / f"{side}.npy") for side in ("real", "fake"))


def shares() -> list[float]:
    found = prdc(real, fake, 5, threads=len(os.sched_getaffinity(0)))
    return [found.precision, found.recall, found.density, found.coverage]


print_run(shares)
