"""Runs in .venv-peers: SDMetrics' QualityReport of FOLDER/synthetic.parquet against real.parquet, kinds in kinds.json."""

import contextlib
import io
import json
import sys
import time
from pathlib import Path

import pandas as pd
from sdmetrics.reports.single_table import QualityReport

folder = Path(sys.argv[1])
real, synthetic = (pd.read_parquet(folder / f"{name}.parquet") for name in ("real", "synthetic"))
columns = {name: {"sdtype": kind} for name, kind in json.loads((folder / "kinds.json").read_text()).items()}
report = QualityReport()
started = time.monotonic()
with contextlib.redirect_stdout(io.StringIO()):
    report.generate(real, synthetic, {"columns": columns}, verbose=False)
seconds = time.monotonic() - started
properties = report.get_properties().set_index("Property")["Score"]
print(json.dumps({"seconds": seconds, "shape": properties["Column Shapes"], "trend": properties["Column Pair Trends"]}))
