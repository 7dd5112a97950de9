"""Makes and scores cells, one after the other, each maker in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from bench.controls import shuffle
from bench.table.cells import CONTROLS, PEERS, ROOT, Cell, Result, code, script, store, stored
from bench.table.data import DATA, Halves, read_halves
from bench.table.scores import measure, under

PEER_PYTHON = ROOT / ".venv-peers-tables" / "bin" / "python"
# One core each, ours and theirs: what a fit costs can then be compared, and waiting threads do not spin.
_ONE_CORE = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE", "LOKY_MAX_CPU_COUNT": "1"}
_OF_NO_MAKER = {"ceiling": "privacy/dcr", "floor": "privacy/"}
"""Scores that say nothing of a control: train in the candidate's place is not apart from train."""


def run(cells: Sequence[Cell], *, data: Path, results: Path) -> Iterator[Result]:
    """Yields each result, measured now unless it is stored and its code is still the same."""
    known = stored(results)
    for cell in cells:
        found = known.get(cell.name)
        if found is None or found.code != code(cell):
            found = _measured(cell, data)
            store(found, results)
        yield found


def at_equal_time(cells: Sequence[Cell], known: Mapping[str, Result], minutes: float) -> list[Cell]:
    """The peers' cells again, with the seconds that our family's fit took on the same rows; left out where that is not known yet."""
    found = []
    for cell in cells:
        ours = known.get(Cell(cell.data, PEERS[cell.maker], cell.seed, {}, cell.rows, minutes).name)
        if ours is not None and cell.maker != "gaussian-copula":  # which has no time to be cut
            found.append(
                Cell(cell.data, cell.maker, cell.seed, {"seconds": round(ours.costs["fit_core_s"])}, cell.rows)
            )
    return found


def make(cell: Cell, halves: Halves) -> tuple[pa.Table, dict[str, float]]:
    """As many rows as train has, and what they cost."""
    with TemporaryDirectory(prefix="synthmill-bench-") as name:
        folder = Path(name)
        pq.write_table(halves.train, folder / "train.parquet")
        (folder / "schema.json").write_text(halves.schema.model_dump_json())
        request = {
            "maker": cell.maker,
            "params": cell.params,
            "seed": cell.seed,
            "minutes": cell.minutes,
            "rows": halves.train.num_rows,
            "discrete": [column.name for column in halves.schema if column.is_discrete],
        }
        (folder / "request.json").write_text(json.dumps(request))
        done = subprocess.run(
            _command(cell.maker, folder), capture_output=True, text=True, cwd=ROOT, env=_environment(), check=False
        )
        if done.returncode:
            raise SystemExit(f"{cell.maker} on {cell.data} failed with {done.returncode}:\n{done.stderr[-2000:]}")
        return under(halves.schema, pq.read_table(folder / "synthetic.parquet")), json.loads(
            done.stdout.splitlines()[-1]
        )


def _measured(cell: Cell, folder: Path) -> Result:
    data = DATA[cell.data]
    version = code(cell)  # before the work: the sources may change under it
    halves = read_halves(data, folder, seed=cell.seed, rows=cell.rows)
    rows, costs = _control(cell, halves) if cell.maker in CONTROLS else make(cell, halves)
    scores = measure(rows, halves, most=data.rows_a_side)
    if cell.maker == "ceiling":
        scores |= measure(halves.holdout, halves, most=data.rows_a_side, keys=["privacy/copies"])
    silent = _OF_NO_MAKER.get(cell.maker)
    kept = {name: value for name, value in scores.items() if silent is None or not name.startswith(silent)}
    return Result(cell, version, datetime.now(UTC).date().isoformat(), kept, costs)


def _control(cell: Cell, halves: Halves) -> tuple[pa.Table, dict[str, float]]:
    """Train in the place of unseen rows: the holdout has not seen it."""
    rng = np.random.default_rng(cell.seed)
    names = halves.train.column_names if cell.maker == "floor" else []
    return shuffle(halves.train, names, rng), {}


def _command(maker: str, folder: Path) -> list[str | Path]:
    if maker not in PEERS:
        return [sys.executable, "-m", "bench.own.table_rows", folder]
    if not PEER_PYTHON.exists():
        raise SystemExit("there is no .venv-peers-tables: `make .venv-peers-tables/.ready` builds it")
    return [PEER_PYTHON, "-s", script(maker), folder]


def _environment() -> dict[str, str]:
    """Without PYTHONPATH: our folders are no business of a peer."""
    return {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | _ONE_CORE
