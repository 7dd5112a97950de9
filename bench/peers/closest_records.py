"""SDMetrics' distances from queries.parquet to the closest record of points.parquet, with what they cost. In `.venv-peers`."""

import json
import sys
import time
from pathlib import Path

import pandas as pd
from sdmetrics.single_table.privacy.dcr_utils import calculate_dcr

folder = Path(sys.argv[1])
queries, points = (pd.read_parquet(folder / f"{side}.parquet") for side in ("queries", "points"))
metadata = json.loads((folder / "metadata.json").read_text())
start, worked = time.perf_counter(), time.process_time()
distances = calculate_dcr(queries, points, metadata)
seconds, core_seconds = time.perf_counter() - start, time.process_time() - worked
status = Path("/proc/self/status").read_text().splitlines()
peak = next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM"))
run = {"values": distances.tolist(), "seconds": seconds, "core_seconds": core_seconds, "peak_bytes": peak}
print(json.dumps(run))
