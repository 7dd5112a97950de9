"""SDMetrics gives the same numbers on the same input, within 1e-6."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from evaluators.fidelity._pairs import code_columns
from evaluators.fidelity.missing import Missing
from evaluators.fidelity.shape import Shape
from evaluators.fidelity.trend import Trend
from synthmill.columns import Column, Schema
from synthmill.evaluator import Evaluator, Measured, Measurement, Reference, References

SCHEMA = Schema(
    columns=(
        Column(name="x", kind="number", dtype="double", nullable=True),
        Column(name="y", kind="number", dtype="double"),
        Column(name="count", kind="integer", dtype="int64"),
        Column(name="label", kind="category", dtype="string", nullable=True),
        Column(name="other", kind="category", dtype="string"),
    )
)


def rows(seed: int, slope: float, missing: float) -> pa.Table:
    """Amounts with and without ties, and labels of which each side has one of its own."""
    rng = np.random.default_rng(seed)
    size = 700 + 100 * seed  # the sides differ in size
    x = rng.normal(size=size)
    label = np.where(x > 0.5, "high", np.where(rng.random(size) < slope, "middle", f"own {seed}"))
    return pa.table(
        {
            "x": pa.array(x, mask=rng.random(size) < missing),
            "y": slope * x + rng.normal(size=size),
            "count": rng.poisson(2 + slope, size),
            "label": pa.array(label, mask=rng.random(size) < missing),
            "other": rng.choice(["a", "b", "c"], size, p=[0.6 - slope / 4, 0.3, 0.1 + slope / 4]),
        },
        schema=SCHEMA.arrow,
    )


WHOLE = rows(1, slope=0.4, missing=0), rows(2, slope=0.7, missing=0)  # real, synthetic
HOLED = rows(1, slope=0.4, missing=0.1), rows(2, slope=0.7, missing=0.2)


def write(folder, tables, suffix=""):
    for side, table in zip(("real", "synthetic"), tables, strict=True):
        pq.write_table(table, folder / f"{side}{suffix}.parquet")


def measure(evaluator: Evaluator, tables) -> Measurement:
    real, synthetic = tables
    references = References(SCHEMA, Reference(real), Reference(real))
    return evaluator.measure(Measured(synthetic), references, seed=0)


def by_column(table: pa.Table) -> dict:
    return dict(zip(table["column"].to_pylist(), table["value"].to_pylist(), strict=True))


def bins(tables) -> list[pa.Table]:
    """The amounts of each side as Trend codes them."""
    real, synthetic = tables
    amounts = [column for column in SCHEMA if not column.is_discrete]
    coded = code_columns(synthetic, real, amounts)
    return [
        pa.table({c.name: codes[coded.side == side] for c, codes in zip(amounts, coded.codes, strict=True)})
        for side in (1, 0)
    ]


def test_shape_is_ks_complement_and_tv_complement(peer, tmp_path):
    write(tmp_path, WHOLE)
    ours = by_column(measure(Shape(), WHOLE).tables["columns"])
    assert ours == pytest.approx(peer("sdmetrics_columns", tmp_path)["shape"], abs=1e-6)
    assert all(0.3 < value < 0.999 for value in ours.values())


def test_missing_is_missing_value_similarity(peer, tmp_path):
    write(tmp_path, HOLED)
    theirs = {name: value for name, value in peer("sdmetrics_columns", tmp_path)["missing"].items() if value < 1}
    found = measure(Missing(), HOLED)
    assert by_column(found.tables["columns"]) == pytest.approx(theirs, abs=1e-6)
    assert sorted(theirs) == ["label", "x"]
    assert found.scores["columns"] == pytest.approx(np.mean([*theirs.values()]), abs=1e-6)


@pytest.mark.parametrize("tables", [WHOLE, HOLED], ids=["whole", "with missing cells"])
def test_trend_is_correlation_similarity_and_contingency_similarity(peer, tmp_path, tables):
    write(tmp_path, tables)
    write(tmp_path, bins(tables), "_bins")
    theirs = peer("sdmetrics_pairs", tmp_path)
    found = measure(Trend(), tables)
    ours = {f"{row['left']} {row['right']}": row["value"] for row in found.tables["pairs"].to_pylist()}
    assert ours == pytest.approx(theirs, abs=1e-6)
    assert len(ours) == 10
    assert all(0.3 < value < 0.999 for value in ours.values())
    assert found.scores[""] == pytest.approx(np.mean([*theirs.values()]), abs=1e-6)
