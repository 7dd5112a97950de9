"""Nearest neighbours beside SDMetrics' distance to the closest record and prdc: seconds, peak memory, agreement.

    python -m bench.neighbours [--rows 2000] [--vectors 20000] [--dimensions 2048]

Each contestant runs alone in a process of its own, the peers in `.venv-peers` (`make .venv-peers/.ready`), with all cores for the matrix
products. Time counts from what is in memory to the result; memory is the kernel's high-water mark of the whole process, interpreter and
libraries included. prdc wants its vectors in memory; ours also takes vectors that stay in their files. Rows are adult.csv's where the
folder that SYNTHMILL_TEST_DATA names has it, else statsmodels' fair; vectors are normal draws.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from synthmill.sources import read

HERE = Path(__file__).parent
PEERS = HERE.parent / ".venv-peers" / "bin" / "python"


@dataclass(frozen=True, slots=True)
class Run:
    """What a contestant printed."""

    values: list[float]
    seconds: float
    core_seconds: float
    peak_bytes: int


def run(name: str, folder: Path) -> Run:
    """One contestant, alone: bench/peers/NAME.py or bench/own/NAME.py."""
    peer = HERE / "peers" / f"{name}.py"
    command = [PEERS, "-I", peer, folder] if peer.exists() else [sys.executable, "-m", f"bench.own.{name}", folder]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, cwd=HERE.parent)
    return Run(**json.loads(done.stdout))


def store_rows(folder: Path, rows: int) -> str:
    """queries.parquet and points.parquet; returns what they are."""
    data = Path(os.environ.get("SYNTHMILL_TEST_DATA", "."))
    uri = "adult.csv" if (data / "adult.csv").exists() else "statsmodels:fair"
    source = read(uri, root=data, overrides={}, target=None)
    dealt = np.random.default_rng(0).permutation(source.table.num_rows)
    for side, part in (("queries", dealt[:rows]), ("points", dealt[rows : 2 * rows])):
        pq.write_table(source.table.take(part), folder / f"{side}.parquet")
    kinds = {column.name: "categorical" if column.is_discrete else "numerical" for column in source.schema}
    columns = {name: {"sdtype": kind} for name, kind in kinds.items()}
    (folder / "metadata.json").write_text(json.dumps({"columns": columns}))
    (folder / "schema.json").write_text(source.schema.model_dump_json())
    return f"{uri}: {rows:,} rows to {rows:,}, {len(kinds)} columns"


def store_vectors(folder: Path, rows: int, dimensions: int) -> str:
    """real.npy and fake.npy; returns what they are."""
    rng = np.random.default_rng(0)
    for side in ("real", "fake"):
        np.save(folder / f"{side}.npy", rng.standard_normal((rows, dimensions), dtype=np.float32))
    return f"vectors: {rows:,} to {rows:,}, {dimensions:,} numbers"


def report(title: str, peer: str, theirs: Run, ours: dict[str, Run]) -> None:
    """`times` and `part` are the peer's seconds, core-seconds and memory by ours; core-seconds hold on a busy machine too."""
    print(f"\n{title}")
    print(f"{'':24}{'seconds':>10}{'times':>8}{'core-s':>10}{'times':>8}{'peak MB':>10}{'part':>8}{'differs by':>12}")
    print(f"{peer:24}{theirs.seconds:10.2f}{'':8}{theirs.core_seconds:10.2f}{'':8}{theirs.peak_bytes / 2**20:10.0f}")
    for name, own in ours.items():
        times = f"{theirs.seconds / own.seconds:.1f}", f"{theirs.core_seconds / own.core_seconds:.1f}"
        part = f"1/{theirs.peak_bytes / own.peak_bytes:.1f}"
        differs = np.abs(np.subtract(own.values, theirs.values)).max()
        print(f"{name:24}{own.seconds:10.2f}{times[0]:>8}{own.core_seconds:10.2f}{times[1]:>8}", end="")
        print(f"{own.peak_bytes / 2**20:10.0f}{part:>8}{differs:12.1e}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=2_000)
    parser.add_argument("--vectors", type=int, default=20_000)
    parser.add_argument("--dimensions", type=int, default=2_048)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        title = store_rows(folder, chosen.rows)
        report(title, "SDMetrics", run("closest_records", folder), {"nearest": run("nearest", folder)})
        title = store_vectors(folder, chosen.vectors, chosen.dimensions)
        ours = {"prdc": run("prdc_in_memory", folder), "prdc, vectors on disk": run("prdc_from_disk", folder)}
        report(title, "prdc 0.2", run("overlap", folder), ours)


if __name__ == "__main__":
    main()
