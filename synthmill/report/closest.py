"""The synthetic rows that lie nearest to a train row, with that row beside: for the private report alone, which stays in state."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from synthmill.columns import Schema
from synthmill.features import measurable
from synthmill.neighbours import Space, nearest
from synthmill.report.cells import Grid, sample_rows
from synthmill.scoring.draw import draw_rows
from synthmill.scoring.references import StratumShare
from synthmill.seeds import derive

PAIRS = 24
_SYNTHETIC_ROWS, _TRAIN_ROWS = 4_000, 50_000  # at most this many are looked at: a second of work


@dataclass(frozen=True, slots=True)
class ClosestRows:
    """Row i of `synthetic` and of `train` are a pair, `distances[i]` apart (Gower, 1971: 0 is equal, 1 differs everywhere).

    `compared` is how many synthetic and how many train rows were looked at.
    """

    synthetic: Grid
    train: Grid
    distances: tuple[float, ...]
    compared: tuple[int, int]


def find_closest(
    candidate: Path, strata: Sequence[StratumShare], train: pa.Table, schema: Schema, seed: int
) -> ClosestRows:
    """The nearest pairs of a seeded sample of the candidate, a folder of Parquet files, and of train."""
    rng = np.random.default_rng(derive(seed, "closest"))
    kept = min(1.0, _SYNTHETIC_ROWS / max(1, sum(stratum.rows for stratum in strata)))
    quotas = [int(np.ceil(stratum.rows * kept)) for stratum in strata]
    synthetic = draw_rows(candidate, strata, quotas, schema=schema, rng=rng)
    if train.num_rows > _TRAIN_ROWS:
        train = train.take(np.sort(rng.choice(train.num_rows, _TRAIN_ROWS, replace=False)))
    return closest_rows(synthetic, train, schema)


def closest_rows(synthetic: pa.Table, train: pa.Table, schema: Schema) -> ClosestRows:
    """The PAIRS nearest pairs, nearest first. Raises SourceError where no column can be compared."""
    columns = measurable(schema.columns)
    space = Space.fit("gower", columns, train, synthetic)
    found = nearest(space.encode(synthetic), space.encode(train), 1)
    order = np.argsort(found.distances[:, 0], kind="stable")[:PAIRS]
    names = [column.name for column in columns]
    return ClosestRows(
        synthetic=sample_rows(synthetic.take(order), names, PAIRS),
        train=sample_rows(train.take(found.indices[order, 0]), names, PAIRS),
        distances=tuple(found.distances[order, 0].tolist()),
        compared=(synthetic.num_rows, train.num_rows),
    )
