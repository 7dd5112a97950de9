"""Scores of the built-in generators on real data, through the whole path: `python -m bench.quality [--seeds 0 1 2]`.

fair and digits come with the dependencies; adult.csv is looked for in the folder that SYNTHMILL_TEST_DATA names.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ADULT = """\
dataset: adult
source: {path: adult.csv, target: income}
jobs: [{generator: table/vae, rows: 6000}]
scores: [fidelity/shape, fidelity/c2st, utility/tstr, privacy/copies]
"""


def synthmill(workspace: Path, *arguments: str) -> str:
    command = [sys.executable, "-m", "synthmill.cli", *arguments]
    done = subprocess.run(
        command, cwd=workspace, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, check=False
    )
    if done.returncode not in (0, 3):
        raise SystemExit(f"{' '.join(arguments)} failed with {done.returncode}")
    return done.stdout


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    options = parser.parse_args()
    data = Path(os.environ.get("SYNTHMILL_TEST_DATA", "../shared/data")).resolve()
    with tempfile.TemporaryDirectory(prefix="synthmill-bench-") as name:
        workspace = Path(name)
        synthmill(workspace, "init", ".")
        recipes = ["fair", "digits"]
        if (data / "adult.csv").exists():
            shutil.copy(data / "adult.csv", workspace)
            (workspace / "recipes" / "adult.yaml").write_text(ADULT)
            recipes.append("adult")
        for recipe in recipes:
            for seed in options.seeds:
                answer = synthmill(
                    workspace, "run", f"recipes/{recipe}.yaml", "--inline", "--json", f"--set=seed={seed}"
                )
                outcome = json.loads(answer)
                for score in outcome["scores"]:
                    normalised = "" if score["normalised"] is None else f"{score['normalised']:.3f}"
                    floor = "" if score["floor"] is None else f"{score['floor']:.3f}"
                    numbers = f"{score['value']:>8.3f} {floor:>8} {score['ceiling']:>8.3f} {normalised:>8}"
                    print(
                        f"{recipe:<8} seed {seed}  {score['name']:<16} {numbers}  fit {outcome['seconds']['fit']:.0f} s",
                        flush=True,
                    )


if __name__ == "__main__":
    main()
