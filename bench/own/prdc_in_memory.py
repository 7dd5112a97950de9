"""Precision, recall, density and coverage of real.npy and fake.npy, read whole as prdc wants them."""

import os
import sys
from dataclasses import astuple
from pathlib import Path

import numpy as np

from bench.own.timing import print_run
from synthmill.neighbours import prdc

real, fake = (np.load(Path(sys.argv[1]) / f"{side}.npy") for side in ("real", "fake"))
print_run(lambda: astuple(prdc(real, fake, 5, threads=len(os.sched_getaffinity(0)))))
