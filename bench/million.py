"""A million Adult rows through the whole path, beside pyarrow alone writing the same table, for each generator of tables.

    python -m bench.million [--generators table/llm ...] [--rows 1000000] [--workers 2] [--inline]

The model is fitted once; then a fresh driver finds it, makes the rows and writes them. `to Parquet` counts staging and assembly; memory is
the high-water mark that the kernel keeps for each process. adult.csv is looked for in the folder that SYNTHMILL_TEST_DATA names.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pyarrow.parquet as pq

from bench.generate import pyarrow_alone, run
from evaluators.fidelity.shape import Shape
from synthmill import registry
from synthmill.evaluator import Measured, Reference, References
from synthmill.sources import read

DATA = Path(os.environ.get("SYNTHMILL_TEST_DATA", "../shared/data")).resolve()
RECIPE = """\
dataset: bench
source: {{path: adult.csv, target: income}}
jobs: [{{generator: {generator}, rows: 1000}}]
"""


def shape_of(folder: Path) -> float:
    """fidelity/shape of all rows against all real ones."""
    source = read("adult.csv", root=DATA, overrides={}, target="income")
    made = pq.read_table(folder / "data", columns=source.schema.arrow.names).cast(source.schema.arrow)
    real = Reference(source.table)
    return Shape().measure(Measured(made), References(source.schema, real, real), seed=0).scores[""]


def measure(generator: str, options: argparse.Namespace) -> str:
    """One line of the table."""
    with tempfile.TemporaryDirectory(prefix="synthmill-bench-") as name:
        workspace = Path(name)
        command = [sys.executable, "-m", "synthmill.cli", "init", "."]
        subprocess.run(command, cwd=workspace, check=True, capture_output=True)
        shutil.copy(DATA / "adult.csv", workspace)
        (workspace / "recipes" / "bench.yaml").write_text(RECIPE.format(generator=generator))
        run(workspace, 1000, options.workers, inline=options.inline)  # fits the model
        outcome, peak = run(workspace, options.rows, options.workers, inline=options.inline)
        generate, assemble = outcome["seconds"]["generate"], outcome["seconds"]["assemble"]
        release = Path(outcome["path"])
        alone = pyarrow_alone(release, workspace)
        cells = [f"{generator:<16}", f"{generate:>7.1f} s", f"{assemble:>7.1f} s", f"{alone:>7.2f} s"]
        cells += [f"{(generate + assemble) / alone:>7.1f}", f"{peak.driver / 1e6:>7,.0f} MB"]
        return "  ".join([*cells, f"{peak.actor / 1e6:>7,.0f} MB", f"{shape_of(release):>7.4f}"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--generators", nargs="+")
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--inline", action="store_true")
    options = parser.parse_args()
    keys = [key for key in registry.generator_keys() if registry.generator(key).modality == "table"]
    heads = ("generator       ", "generate ", "assemble ", "pyarrow  ", "times  ", "driver    ", "actor     ", "shape")
    print("  ".join(heads))
    for generator in options.generators or keys:
        print(measure(generator, options), flush=True)


if __name__ == "__main__":
    main()
