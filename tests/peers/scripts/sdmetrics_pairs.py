"""SDMetrics on each pair of columns of two tables.

argv[1] holds real.parquet and synthetic.parquet, and in real_bins.parquet and synthetic_bins.parquet the amounts as bins, which
stand in for them beside a label: SDMetrics' own bins are each table's.
"""

import json
import sys
from itertools import combinations
from pathlib import Path

import pandas as pd
from sdmetrics.column_pairs import ContingencySimilarity, CorrelationSimilarity

folder = Path(sys.argv[1])
real, synthetic = (pd.read_parquet(folder / f"{side}.parquet") for side in ("real", "synthetic"))
bins = [pd.read_parquet(folder / f"{side}_bins.parquet") for side in ("real", "synthetic")]
found = {}
for pair in combinations(real.columns, 2):
    amounts = [name for name in pair if name in bins[0]]
    if len(amounts) == 2:
        metric, sides = CorrelationSimilarity, (real, synthetic)
    else:
        metric = ContingencySimilarity
        sides = [table.assign(**binned[amounts]) for table, binned in zip((real, synthetic), bins, strict=True)]
    found[" ".join(pair)] = float(metric.compute(*(side[list(pair)] for side in sides)))
print(json.dumps(found))
