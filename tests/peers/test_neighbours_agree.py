"""SDMetrics' distances to the closest record and prdc's four shares, on the same input, within 1e-6."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.tables import MIXED, mixed

from synthmill.neighbours import Space, nearest, prdc

SDTYPES = {"age": "numerical", "income": "numerical", "city": "categorical", "member": "boolean", "since": "datetime"}


def test_the_nearest_row_is_as_far_as_the_closest_record(peer, tmp_path):
    """Labels, dates, missing cells, and amounts outside of what the points span."""
    queries, points = mixed(400, seed=1), mixed(1200, seed=2)
    far = pa.array(queries["income"].to_numpy() * 1.5, from_pandas=True)
    queries = queries.set_column(1, MIXED.arrow.field("income"), far)
    for name, table in (("queries", queries), ("points", points)):
        pq.write_table(table, tmp_path / f"{name}.parquet")
    (tmp_path / "kinds.json").write_text(json.dumps(SDTYPES))
    space = Space.fit("gower", MIXED.columns, points, queries)
    ours = nearest(space.encode(queries), space.encode(points), 1).distances[:, 0]
    theirs = peer("sdmetrics_closest", tmp_path)["distances"]
    assert ours == pytest.approx(theirs, abs=1e-6)
    assert len(np.unique(np.round(theirs, 6))) > 300


@pytest.mark.parametrize(("d", "shift"), [(3, 0.4), (200, 0.05)])
def test_precision_recall_density_and_coverage_are_prdcs(peer, tmp_path, d, shift):
    rng = np.random.default_rng(d)
    real = rng.normal(size=(1500, d)).astype(np.float32)
    fake = (0.98 * rng.normal(size=(1200, d)) + shift).astype(np.float32)
    np.save(tmp_path / "real.npy", real)
    np.save(tmp_path / "fake.npy", fake)
    theirs = peer("prdc_features", tmp_path)
    ours = prdc(real, fake, 5)
    assert {name: getattr(ours, name) for name in theirs} == pytest.approx(theirs, abs=1e-6)
    assert len(theirs) == 4
    assert all(value > 0.1 for value in theirs.values())
