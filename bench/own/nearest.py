"""The distance from each row of queries.parquet to the nearest of points.parquet: encoding and all."""

import sys
from pathlib import Path

import pyarrow.parquet as pq

from bench.own.timing import print_run
from synthmill.columns import Schema
from synthmill.neighbours import Space, nearest

folder = Path(sys.argv[1])
queries, points = (pq.read_table(folder / f"{side}.parquet") for side in ("queries", "points"))
columns = Schema.model_validate_json((folder / "schema.json").read_text()).columns


def distances() -> list[float]:
    space = Space.fit("gower", columns, points, queries)
    return nearest(space.encode(queries), space.encode(points), 1).distances[:, 0].tolist()


print_run(distances)
