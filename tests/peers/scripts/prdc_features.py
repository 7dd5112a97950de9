"""prdc's precision, recall, density and coverage of real.npy and fake.npy in argv[1], with five neighbours."""

import contextlib
import json
import sys
from pathlib import Path

import numpy as np
from prdc import compute_prdc

folder = Path(sys.argv[1])
with contextlib.redirect_stdout(sys.stderr):  # it prints the numbers of rows
    found = compute_prdc(np.load(folder / "real.npy"), np.load(folder / "fake.npy"), 5)
print(json.dumps({name: float(value) for name, value in found.items()}))
