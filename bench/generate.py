"""Rows/s and peak memory of generating and writing, beside pyarrow alone writing the same table.

    python -m bench.generate [--rows 100000 1000000] [--workers 2] [--inline]

The model is fitted once; then each size runs in a fresh driver that finds it. Memory is the high-water mark that the kernel
keeps for each process (VmHWM), read until the process ends.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pyarrow.parquet as pq

RECIPE = """\
dataset: bench
source: {path: "statsmodels:fair", target: yrs_married}
jobs: [{generator: table/vae, rows: 1000, params: {steps: 300}}]
"""


@dataclass
class Peak:
    """High-water marks in bytes: the driver's, and the largest of its sampling processes."""

    driver: int = 0
    actor: int = 0
    _known: dict[int, psutil.Process] = field(default_factory=dict)

    def watch(self, driver: psutil.Process) -> None:
        self.driver = max(self.driver, _high_water(driver.pid))
        for child in driver.children(recursive=True):
            try:
                command = " ".join(child.cmdline())
            except psutil.Error:
                continue
            if command.startswith("ray::") or "multiprocessing.spawn" in command:
                self.actor = max(self.actor, _high_water(child.pid))


def _high_water(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM")), 0)


def run(workspace: Path, rows: int, workers: int, *, inline: bool) -> tuple[dict, Peak]:
    command = [
        sys.executable,
        "-m",
        "synthmill.cli",
        "run",
        "recipes/bench.yaml",
        "--json",
        f"--set=jobs.0.rows={rows}",
    ]
    command += ["--inline"] if inline else [f"--workers={workers}"]
    peak = Peak()
    with subprocess.Popen(
        command, cwd=workspace, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        driver = psutil.Process(process.pid)
        while process.poll() is None:
            peak.watch(driver)
            time.sleep(0.1)
        assert process.stdout is not None
        answer = process.stdout.read()
    if process.returncode:
        raise SystemExit(f"the run of {rows:,} rows failed with {process.returncode}")
    return json.loads(answer), peak


def pyarrow_alone(folder: Path, scratch: Path) -> float:
    """Seconds in which pyarrow writes the same table with the same settings, from memory."""
    table = pq.read_table(folder / "data")
    started = time.monotonic()
    pq.write_table(table, scratch / "alone.parquet", compression="zstd", compression_level=3, row_group_size=16_384)
    return time.monotonic() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=[100_000, 1_000_000])
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--inline", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="synthmill-bench-") as name:
        workspace = Path(name)
        subprocess.run(
            [sys.executable, "-m", "synthmill.cli", "init", "."], cwd=workspace, check=True, capture_output=True
        )
        (workspace / "recipes" / "bench.yaml").write_text(RECIPE)
        run(workspace, 1000, options.workers, inline=options.inline)  # fits the model
        print("rows       generate    + assemble   pyarrow     of pyarrow  driver     actor")
        for rows in options.rows:
            outcome, peak = run(workspace, rows, options.workers, inline=options.inline)
            generate, assemble = outcome["seconds"]["generate"], outcome["seconds"]["assemble"]
            alone = pyarrow_alone(Path(outcome["path"]), workspace)
            speeds = [rows / generate, rows / (generate + assemble), rows / alone]
            cells = [f"{rows:<9,}", *(f"{speed:>9,.0f}/s" for speed in speeds), f"{speeds[1] / speeds[2]:>9.4f}"]
            print("  ".join(cells), f"{peak.driver / 1e6:>7,.0f} MB {peak.actor / 1e6:>7,.0f} MB", flush=True)


if __name__ == "__main__":
    main()
