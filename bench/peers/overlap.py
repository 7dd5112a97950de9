"""prdc on real.npy and fake.npy, with what it costs. In `.venv-peers`."""

import contextlib
import io
import json
import sys
import time
from pathlib import Path

import numpy as np
from prdc import compute_prdc

folder = Path(sys.argv[1])
real, fake = np.load(folder / "real.npy"), np.load(folder / "fake.npy")
start, worked = time.perf_counter(), time.process_time()
with contextlib.redirect_stdout(io.StringIO()):  # it prints the numbers of rows
    found = compute_prdc(real, fake, 5)
seconds, core_seconds = time.perf_counter() - start, time.process_time() - worked
values = [float(found[name]) for name in ("precision", "recall", "density", "coverage")]
status = Path("/proc/self/status").read_text().splitlines()
peak = next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM"))
print(json.dumps({"values": values, "seconds": seconds, "core_seconds": core_seconds, "peak_bytes": peak}))
