"""How often the 95 % intervals hold the truth: many simulated candidates, each scored against real rows of its own.

    python -m bench.coverage [--rows 400] [--simulations 200] [KEY ...]

The truth of a score is its mean over the simulations: what this generator gets at this number of rows, luck apart.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from synthmill.columns import Column, Schema
from synthmill.evaluator import Score
from synthmill.scoring import most_rows, score
from synthmill.scoring.references import StratumShare
from synthmill.scoring.sides import Real, Subject, draw_exam

SCHEMA = Schema(
    columns=(
        Column(name="x", kind="number", dtype="double"),
        Column(name="count", kind="integer", dtype="int64"),
        Column(name="group", kind="category", dtype="string"),
        Column(name="y", kind="number", dtype="double"),
    ),
    target="y",
)
KEYS = ("fidelity/shape", "fidelity/trend", "fidelity/mutual_information", "fidelity/c2st", "utility/tstr")


@dataclass(frozen=True, slots=True)
class Coverage:
    """Of one score: its mean and spread over the simulations, and the share of intervals that hold the mean."""

    truth: float
    spread: float
    held: float


def coverage(keys: Sequence[str], *, rows: int, simulations: int) -> dict[str, Coverage]:
    """Score `simulations` candidates of a generator that shifts one column and loosens one tie."""
    with TemporaryDirectory() as folder:
        found = [_simulate(keys, rows, seed, Path(folder)) for seed in range(simulations)]
    return {name: _coverage([scores[name] for scores in found]) for name in found[0]}


def _simulate(keys: Sequence[str], rows: int, seed: int, folder: Path) -> dict[str, Score]:
    rng = np.random.default_rng(seed)
    candidate = _rows(rows, rng, shift=0.2, tie=0.7)
    pq.write_table(candidate.append_column("_stratum", pa.array(["all"] * rows)), folder / "candidate.parquet")
    a, b, train = (_rows(rows, rng) for _ in range(3))
    subject = Subject(folder, Real(a, b, train), SCHEMA, (StratumShare(0, "all", {}, rows),), seed)
    return {found.name: found for found in score(keys, draw_exam(subject, most_rows(keys))).scores}


def _rows(rows: int, rng: np.random.Generator, *, shift: float = 0.0, tie: float = 1.0) -> pa.Table:
    x, group = rng.normal(size=rows), np.where(rng.random(rows) < 0.3, "rare", "common")
    return pa.table(
        {
            "x": x + shift,
            "count": np.round(3 * x + 2 * rng.normal(size=rows)).astype(int),
            "group": group,
            "y": tie * x + (group == "rare") + 0.5 * rng.normal(size=rows),
        },
        schema=SCHEMA.arrow,
    )


def _coverage(scores: Sequence[Score]) -> Coverage:
    values = np.array([found.value for found in scores], dtype=np.float64)
    intervals = np.array([found.interval for found in scores])
    truth = float(values.mean())
    return Coverage(truth, float(values.std()), float(((intervals[:, 0] <= truth) & (truth <= intervals[:, 1])).mean()))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("keys", nargs="*", default=KEYS, metavar="KEY")
    parser.add_argument("--rows", type=int, default=400)
    parser.add_argument("--simulations", type=int, default=200)
    asked = parser.parse_args()
    for name, found in coverage(asked.keys, rows=asked.rows, simulations=asked.simulations).items():
        print(f"{name:<32} mean {found.truth:.4f}  spread {found.spread:.4f}  intervals that hold it {found.held:.3f}")


if __name__ == "__main__":
    main()
