"""SDMetrics' distances to closest records and their score; argv[1] holds train, holdout and synthetic.parquet and metadata.json."""

import json
import sys
from pathlib import Path

import pandas as pd
from sdmetrics.single_table import DCROverfittingProtection
from sdmetrics.single_table.privacy.dcr_utils import calculate_dcr

folder = Path(sys.argv[1])
train, holdout, synthetic = (pd.read_parquet(folder / f"{side}.parquet") for side in ("train", "holdout", "synthetic"))
metadata = json.loads((folder / "metadata.json").read_text())
found = DCROverfittingProtection.compute_breakdown(
    real_training_data=train,
    synthetic_data=synthetic,
    real_validation_data=holdout,
    metadata={"tables": {"rows": metadata}},
    table_name="rows",
)
answer = {
    "score": float(found["score"]),
    "closer_to_training": float(found["synthetic_data_percentages"]["closer_to_training"]),
    "to_train": calculate_dcr(synthetic, train, metadata).tolist(),
    "to_holdout": calculate_dcr(synthetic, holdout, metadata).tolist(),
}
print(json.dumps(answer))
