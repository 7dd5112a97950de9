"""SDMetrics on each column of two tables; argv[1] holds real.parquet and synthetic.parquet."""

import json
import sys
from pathlib import Path

import pandas as pd
from sdmetrics.single_column import KSComplement, MissingValueSimilarity, TVComplement

folder = Path(sys.argv[1])
real, synthetic = (pd.read_parquet(folder / f"{side}.parquet") for side in ("real", "synthetic"))
found = {"shape": {}, "missing": {}}
for name in real.columns:
    shape = KSComplement if pd.api.types.is_numeric_dtype(real[name]) else TVComplement
    found["shape"][name] = float(shape.compute(real[name], synthetic[name]))
    found["missing"][name] = float(MissingValueSimilarity.compute(real[name], synthetic[name]))
print(json.dumps(found))
