"""How much a fit slows beside one busy process: `python -m bench.busy [--generators table/llm ...] [--rows 4000]`.

Each fit runs twice alone and twice beside a process that never rests, by turns, in a process of its own; the faster of two counts. Nothing
else may run meanwhile. Rows are Adult's, of the folder that SYNTHMILL_TEST_DATA names.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.table.cells import Cell
from bench.table.data import DATA, read_halves
from bench.table.grid import make
from synthmill import registry

ROUNDS = 2


@contextmanager
def busy_process() -> Iterator[None]:
    """Keeps one core busy for as long as the block lasts."""
    with subprocess.Popen([sys.executable, "-c", "while True: pass"]) as process:
        try:
            yield
        finally:
            process.kill()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    keys = [key for key in registry.generator_keys() if registry.generator(key).modality == "table"]
    parser.add_argument("--generators", nargs="+", default=keys)
    parser.add_argument("--rows", type=int, default=4_000)
    options = parser.parse_args()
    folder = Path(os.environ.get("SYNTHMILL_TEST_DATA", "../shared/data")).resolve()
    halves = read_halves(DATA["adult"], folder, seed=0, rows=options.rows)
    for generator in options.generators:
        cell = Cell("adult", generator, rows=options.rows)
        alone, beside = [], []
        for _ in range(ROUNDS):
            alone.append(make(cell, halves)[1]["fit_s"])
            with busy_process():
                beside.append(make(cell, halves)[1]["fit_s"])
        quick, slow = min(alone), min(beside)
        print(f"{generator:<16} alone {quick:6.1f} s  beside {slow:6.1f} s  times {slow / quick:.2f}", flush=True)


if __name__ == "__main__":
    main()
