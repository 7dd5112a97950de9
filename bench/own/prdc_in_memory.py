"""Precision, recall, density and coverage of real.npy and fake.npy, read whole as prdc wants them."""

import os
import sys
from pathlib import Path

import numpy as np

from bench.own.timing import print_run
from synthmill.neighbours import prdc

real, fake = (np.load(Path(sys.argv[1]) / f"{side}.npy") for side in ("real", "fake"))


def shares() -> list[float]:
    found = prdc(real, fake, 5, threads=len(os.sched_getaffinity(0)))
    return [found.precision, found.recall, found.density, found.coverage]


print_run(shares)
