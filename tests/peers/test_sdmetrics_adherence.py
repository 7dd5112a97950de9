"""SDMetrics counts the same cells as out of bounds and as unseen labels."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from evaluators.validity.bounds import Bounds
from evaluators.validity.categories import Categories
from synthmill.columns import Column, Schema
from synthmill.evaluator import Measured, Reference, References

SCHEMA = Schema(
    columns=(
        Column(name="x", kind="number", dtype="double"),
        Column(name="count", kind="integer", dtype="int64"),
        Column(name="moment", kind="datetime", dtype="timestamp"),
        Column(name="label", kind="category", dtype="string"),
    )
)


def rows(seed: int, spread: float, labels: str) -> pa.Table:
    rng = np.random.default_rng(seed)
    moments = (spread * 1e12 * rng.normal(size=500)).astype("int64").view("datetime64[us]")
    return pa.table(
        {
            "x": spread * rng.normal(size=500),
            "count": rng.poisson(3 * spread, 500),
            "moment": moments,
            "label": rng.choice(list(labels), 500),
        },
        schema=SCHEMA.arrow,
    )


def test_bounds_and_categories_are_adherence(peer, tmp_path):
    real, synthetic = rows(1, spread=1, labels="abc"), rows(2, spread=2, labels="abcde")
    pq.write_table(real, tmp_path / "real.parquet")
    pq.write_table(synthetic, tmp_path / "synthetic.parquet")
    ours = {}
    for evaluator in (Bounds(), Categories()):
        features = evaluator.prepare(real, SCHEMA, seed=0)
        references = References(SCHEMA, Reference(real), Reference(real), features)
        columns = evaluator.measure(Measured(synthetic), references, seed=0).tables["columns"].to_pylist()
        ours |= {line["column"]: 1 - line["share"] for line in columns}
    assert ours == pytest.approx(peer("sdmetrics_adherence", tmp_path), abs=1e-6)
    assert all(0.3 < value < 0.99 for value in ours.values())
