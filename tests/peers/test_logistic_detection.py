"""fidelity/c2st_logistic against SDMetrics' LogisticDetection, on the same rows and folds."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from evaluators.fidelity.c2st_logistic import C2stLogistic
from synthmill.columns import Column, Schema
from synthmill.evaluator import Measured, Reference, References


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_numbers_score_as_in_sdmetrics(peer, tmp_path, seed):
    rng = np.random.default_rng(seed)
    shape = np.array([[1.0, 0.2, 0.0], [0.0, 1.0, 0.5], [0.0, 0.0, 2.0]])
    sides = {
        "real": rng.normal(size=(900, 3)) @ shape,
        "synthetic": rng.normal(size=(700, 3)) @ shape + [0.1, 0.3, 0.0],
    }
    names = ("x", "y", "z")
    schema = Schema(columns=tuple(Column(name=name, kind="number", dtype="double") for name in names))
    tables = {}
    for side, rows in sides.items():
        exact = np.round(rows * 1024) / 1024  # in float32 too
        tables[side] = pa.table(dict(zip(names, exact.T, strict=True)), schema=schema.arrow)
        pq.write_table(tables[side], tmp_path / f"{side}.parquet")
    (tmp_path / "seed.json").write_text(json.dumps(seed))
    real = Reference(tables["real"])
    found = C2stLogistic().measure(Measured(tables["synthetic"]), References(schema, real, real), seed=seed)
    assert 0.7 < found.scores[""] < 0.95
    assert found.scores[""] == pytest.approx(peer("sdmetrics_logistic", tmp_path)["score"], abs=1e-6)
