"""SDMetrics 0.32 gives the same numbers on the same input, within 1e-6."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from evaluators.fidelity.shape import Shape
from synthmill.columns import Column, Schema
from synthmill.evaluator import Measured, Reference, References

SCHEMA = Schema(
    columns=(
        Column(name="x", kind="number", dtype="double"),
        Column(name="y", kind="number", dtype="double"),
        Column(name="count", kind="integer", dtype="int64"),
        Column(name="label", kind="category", dtype="string"),
        Column(name="other", kind="category", dtype="string"),
    )
)


def rows(seed: int, slope: float) -> pa.Table:
    """Amounts with and without ties, and labels of which each side has one of its own."""
    rng = np.random.default_rng(seed)
    size = 700 + 100 * seed  # unequal sides
    x = rng.normal(size=size)
    return pa.table(
        {
            "x": x,
            "y": slope * x + rng.normal(size=size),
            "count": rng.poisson(2 + slope, size),
            "label": np.where(x > 0.5, "high", np.where(rng.random(size) < slope, "middle", f"own {seed}")),
            "other": rng.choice(["a", "b", "c"], size, p=[0.6 - slope / 4, 0.3, 0.1 + slope / 4]),
        },
        schema=SCHEMA.arrow,
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tables")
    pq.write_table(rows(1, 0.4), folder / "real.parquet")
    pq.write_table(rows(2, 0.7), folder / "synthetic.parquet")
    return folder


def measure(evaluator):
    references = References(SCHEMA, Reference(rows(1, 0.4)), Reference(rows(1, 0.4)))
    return evaluator.measure(Measured(rows(2, 0.7)), references, seed=0)


def test_shape_is_ks_complement_and_tv_complement(peer, folder):
    theirs = peer("sdmetrics_columns", folder)
    details = measure(Shape()).tables["columns"]
    ours = dict(zip(details["column"].to_pylist(), details["value"].to_pylist(), strict=True))
    assert ours == pytest.approx(theirs, abs=1e-6)
    assert all(0.3 < value < 0.999 for value in ours.values())
