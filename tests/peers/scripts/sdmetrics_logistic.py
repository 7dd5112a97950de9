"""SDMetrics' LogisticDetection with known folds; argv[1] holds real.parquet, synthetic.parquet and seed.json."""

import json
import sys
from pathlib import Path

import numpy as np
import pandas as pd
from sdmetrics.single_table import LogisticDetection

folder = Path(sys.argv[1])
real, synthetic = (pd.read_parquet(folder / f"{side}.parquet") for side in ("real", "synthetic"))
np.random.seed(json.loads((folder / "seed.json").read_text()))  # its folds come from NumPy's global generator
print(json.dumps({"score": float(LogisticDetection.compute(real, synthetic))}))
