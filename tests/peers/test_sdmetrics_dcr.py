"""SDMetrics' distances to closest records, and what it makes of them, within 1e-6 on the same input."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from evaluators.privacy.dcr import Dcr, votes_for_train
from synthmill.columns import Column, Schema
from synthmill.evaluator import Measured, Reference, References
from synthmill.neighbours import Space, nearest

SCHEMA = Schema(
    columns=(
        Column(name="x", kind="number", dtype="double", nullable=True),
        Column(name="count", kind="integer", dtype="int64"),
        Column(name="day", kind="datetime", dtype="timestamp"),
        Column(name="label", kind="category", dtype="string", nullable=True),
        Column(name="flag", kind="boolean", dtype="bool"),
    )
)
SDTYPES = {"number": "numerical", "integer": "numerical", "datetime": "datetime", "category": "categorical"}
DAY = 86_400 * 10**6


def rows(seed: int, size: int) -> pa.Table:
    """The first two rows are the ends of every range: SDMetrics takes each side's own, we take train's."""
    rng = np.random.default_rng(seed)
    ends = np.array([-4.0, 4.0])
    hidden = np.concatenate([ends, rng.normal(size=size - 2).clip(-4, 4)])
    is_missing = np.concatenate([[False, False], rng.random(size - 2) < 0.1])
    return pa.table(
        {
            "x": pa.array(hidden, mask=is_missing),
            "count": np.round(2 * hidden).astype(int),
            "day": pa.array((20_000 + np.round(30 * hidden)).astype(int) * DAY, pa.timestamp("us")),
            "label": pa.array(rng.choice(["a", "b", f"own {seed}"], size), mask=is_missing[::-1]),
            "flag": hidden > rng.normal(size=size),
        },
        schema=SCHEMA.arrow,
    )


@pytest.fixture(scope="module")
def sides() -> dict[str, pa.Table]:
    train, holdout, unseen = rows(1, 250), rows(2, 250), rows(3, 300)
    return {"train": train, "holdout": holdout, "synthetic": pa.concat_tables([unseen, train.slice(0, 100)])}


def test_the_share_is_dcr_overfitting_protection(peer, tmp_path, sides):
    for name, table in sides.items():
        pq.write_table(table, tmp_path / f"{name}.parquet")
    columns = {c.name: {"sdtype": SDTYPES.get(c.kind, c.kind)} for c in SCHEMA}
    (tmp_path / "metadata.json").write_text(json.dumps({"columns": columns}))
    theirs = peer("sdmetrics_dcr", tmp_path)

    space = Space.fit("gower", SCHEMA.columns, *sides.values())
    points = {name: space.encode(table) for name, table in sides.items()}
    to_train, to_holdout = (nearest(points["synthetic"], points[side], 1) for side in ("train", "holdout"))
    assert to_train.distances[:, 0] == pytest.approx(theirs["to_train"], abs=1e-6)
    assert to_holdout.distances[:, 0] == pytest.approx(theirs["to_holdout"], abs=1e-6)

    votes = votes_for_train(to_train, to_holdout)
    closer, ties = float((votes == 1).mean()), float((votes == 0.5).mean())
    assert closer == pytest.approx(theirs["closer_to_training"], abs=1e-6)
    assert min(1.0, 2 * (1 - closer)) == pytest.approx(theirs["score"], abs=1e-6)
    assert 0.5 < closer < 0.8
    assert ties > 0

    references = References(SCHEMA, Reference(sides["holdout"]), Reference(sides["train"]))
    share = Dcr().measure(Measured(sides["synthetic"]), references, seed=0).scores[""]
    assert share == pytest.approx(theirs["closer_to_training"] + ties / 2, abs=1e-6)
