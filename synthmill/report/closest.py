"""The synthetic rows that lie nearest to a train row, with that row beside: for the private report alone, which stays in state."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from synthmill.columns import Schema
from synthmill.features import measurable
from synthmill.neighbours import Space, nearest
from synthmill.report.cells import Grid, grid

PAIRS = 24


@dataclass(frozen=True, slots=True)
class ClosestRows:
    """Row i of `synthetic` and of `train` are a pair, `distances[i]` apart (Gower, 1971: 0 is equal, 1 differs everywhere)."""

    synthetic: Grid
    train: Grid
    distances: tuple[float, ...]
    compared: int  # synthetic rows looked at


def closest_rows(synthetic: pa.Table, train: pa.Table, schema: Schema) -> ClosestRows:
    """The PAIRS nearest pairs, nearest first. Raises SourceError where no column can be compared."""
    columns = measurable(schema.columns)
    space = Space.fit("gower", columns, train, synthetic)
    found = nearest(space.encode(synthetic), space.encode(train), 1)
    order = np.argsort(found.distances[:, 0], kind="stable")[:PAIRS]
    names = [column.name for column in columns]
    return ClosestRows(
        synthetic=grid(synthetic.select(names).take(order)),
        train=grid(train.select(names).take(found.indices[order, 0])),
        distances=tuple(found.distances[order, 0].tolist()),
        compared=synthetic.num_rows,
    )
