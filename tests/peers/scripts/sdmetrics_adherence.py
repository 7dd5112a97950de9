"""SDMetrics on the bounds and categories of each column of two tables; argv[1] holds real.parquet and synthetic.parquet."""

import json
import sys
from pathlib import Path

import pandas as pd
from sdmetrics.single_column import BoundaryAdherence, CategoryAdherence

folder = Path(sys.argv[1])
real, synthetic = (pd.read_parquet(folder / f"{side}.parquet") for side in ("real", "synthetic"))
found = {}
for name in real.columns:
    is_amount = pd.api.types.is_numeric_dtype(real[name]) or pd.api.types.is_datetime64_any_dtype(real[name])
    measure = BoundaryAdherence if is_amount else CategoryAdherence
    found[name] = float(measure.compute(real[name], synthetic[name]))
print(json.dumps(found))
