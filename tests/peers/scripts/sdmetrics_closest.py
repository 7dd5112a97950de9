"""SDMetrics' distance to the closest record of each row of queries.parquet among points.parquet; argv[1] also holds kinds.json."""

import json
import sys
from pathlib import Path

import pandas as pd
from sdmetrics.single_table.privacy.dcr_utils import calculate_dcr

folder = Path(sys.argv[1])
queries, points = (pd.read_parquet(folder / f"{side}.parquet") for side in ("queries", "points"))
kinds = json.loads((folder / "kinds.json").read_text())
for name in (name for name, kind in kinds.items() if kind == "datetime"):
    queries[name], points[name] = pd.to_datetime(queries[name]), pd.to_datetime(points[name])
metadata = {"columns": {name: {"sdtype": kind} for name, kind in kinds.items()}}
print(json.dumps({"distances": calculate_dcr(queries, points, metadata).tolist()}))
