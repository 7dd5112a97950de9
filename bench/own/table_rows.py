"""Fits a generator on train.parquet and writes as many rows to synthetic.parquet; bench/table asks for it in request.json."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from bench.own.timing import peak_bytes
from synthmill import registry
from synthmill.columns import Schema
from synthmill.generator import Generator, SampleRequest, TrainData


def sample(model: Generator, rows: int, *, key: int) -> pa.Table:
    """The first `rows` candidates of a stream, in whole micro-batches."""
    nothing = pa.table({})
    batches = []
    for first in range(0, rows, model.micro_batch):
        candidates = np.arange(first, first + model.micro_batch)
        mask = np.zeros((len(candidates), 0), bool)
        batches.append(model.sample(SampleRequest(candidates, key, nothing, mask)).table)
    return pa.concat_tables(batches).slice(0, rows)


def timed(work: Callable[[], object]) -> tuple[float, float]:
    """Seconds on the clock and of all cores."""
    start, worked = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - start, time.process_time() - worked


def main(folder: Path) -> None:
    request = json.loads((folder / "request.json").read_text())
    schema = Schema.model_validate_json((folder / "schema.json").read_text())
    train = pq.read_table(folder / "train.parquet").cast(schema.arrow)
    kind = registry.generator(request["maker"])
    params = request["params"]
    if request["minutes"] and "max_minutes" in kind.Params.model_fields:
        params = {"max_minutes": request["minutes"]} | params
    torch.set_num_threads(kind.threads)
    model = kind(kind.Params.parse(params))
    reports = []

    def fit() -> None:
        reports.append(
            model.fit(TrainData(train, schema), seed=request["seed"], device="cpu", progress=lambda *_: None)
        )

    fit_s, fit_core_s = timed(fit)
    made: list[pa.Table] = []
    sample(model, model.micro_batch, key=1)  # what is done once is no part of the rate
    _, sample_core_s = timed(lambda: made.append(sample(model, train.num_rows, key=0)))
    pq.write_table(made[0], folder / "synthetic.parquet")
    costs = {
        "fit_s": fit_s,
        "fit_core_s": fit_core_s,
        "steps": reports[0].steps,
        "rows_per_core_s": train.num_rows / sample_core_s,
        "peak_bytes": peak_bytes(),
    }
    print(json.dumps(costs))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
