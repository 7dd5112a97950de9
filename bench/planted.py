"""Are planted copies of train caught by privacy/copies, and are real rows left alone? `python -m bench.planted [--seeds 20]`.

A candidate of 20,000 unseen real rows, of which 1 % are replaced by train rows: as they are, or with every amount moved by up to half
of its column's resolution. It goes through the gate `at_most: 1.0, of: ceiling`, measured as the runner does on as many of its
rows as holdout A has. Simulated people, and adult.csv where the folder that SYNTHMILL_TEST_DATA names has it.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa

from evaluators.privacy.copies import Copies, resolution
from synthmill.columns import Column, Schema
from synthmill.evaluator import Measured, Reference, References, Score
from synthmill.features import amounts
from synthmill.scoring.gates import judge
from synthmill.spec import Recipe

CANDIDATE_ROWS, PLANTED_SHARE = 20_000, 0.01
GATE = {"at_most": 1.0, "of": "ceiling"}
RECIPE = Recipe.model_validate(
    {
        "dataset": "planted",
        "source": {"path": "planted.csv"},
        "jobs": ({"generator": "table/vae", "rows": CANDIDATE_ROWS},),
        "gates": {"privacy/copies": GATE, "privacy/copies/near": GATE},
    }
)
PEOPLE = Schema(
    columns=(
        Column(name="age", kind="integer", dtype="int64"),
        Column(name="hours", kind="integer", dtype="int64", nullable=True),
        Column(name="savings", kind="number", dtype="double"),
        Column(name="height", kind="number", dtype="double"),
        Column(name="joined", kind="date", dtype="date32"),
        Column(name="city", kind="category", dtype="string"),
        Column(name="married", kind="boolean", dtype="bool"),
    )
)

Kind = Literal["none", "exact", "jittered"]


@dataclass(frozen=True, slots=True)
class World:
    """Real rows: train, holdout A, and `unseen` ones that an honest generator could have made."""

    schema: Schema
    train: pa.Table
    a: pa.Table
    unseen: pa.Table


def people(rows: int, rng: np.random.Generator) -> pa.Table:
    """Real-looking rows of all kinds of columns, about 0.2 % of which are equal by chance to one of 8,000 others."""
    is_poor = rng.random(rows) < 0.5
    is_new = rng.random(rows) < 0.2
    return pa.table(
        {
            "age": np.where(is_new, rng.integers(18, 22, rows), rng.integers(18, 80, rows)),
            "hours": pa.array(np.where(is_poor, 40, rng.integers(20, 60, rows)), mask=rng.random(rows) < 0.1),
            "savings": np.where(is_poor, 0, np.round(rng.lognormal(8, 2, rows), 2)),
            "height": np.where(is_new, 170, rng.normal(170, 10, rows)),
            "joined": pa.array(
                np.where(is_new, 20_000, rng.integers(10_000, 20_000, rows)).astype(np.int32), pa.date32()
            ),
            "city": rng.choice([f"city {i}" for i in range(5000)], rows),
            "married": rng.random(rows) < 0.3,
        },
        schema=PEOPLE.arrow,
    )


def simulated(seed: int, *, train_rows: int = 8_000, a_rows: int = 4_000) -> World:
    """People."""
    rng = np.random.default_rng(seed)
    return World(PEOPLE, people(train_rows, rng), people(a_rows, rng), people(CANDIDATE_ROWS, rng))


def divided(table: pa.Table, schema: Schema, seed: int) -> World:
    """A real table at random: a tenth is A, three tenths are unseen, the rest is train."""
    numbers = np.random.default_rng(seed).permutation(table.num_rows)
    a, unseen, train = np.split(numbers, [table.num_rows // 10, 4 * table.num_rows // 10])
    return World(schema, table.take(train), table.take(a), table.take(unseen))


def plant(world: World, kind: Kind, rng: np.random.Generator) -> pa.Table:
    """The candidate: unseen rows (again, where there are too few), one in a hundred replaced."""
    planted = 0 if kind == "none" else round(PLANTED_SHARE * CANDIDATE_ROWS)
    copied = world.train.take(rng.choice(world.train.num_rows, planted, replace=False))
    if kind == "jittered":
        for place, column in enumerate(world.schema):
            if column.kind in ("number", "integer", "date", "datetime", "time"):
                moved = _moved(copied[column.name], world.train[column.name], rng)
                copied = copied.set_column(place, world.schema.arrow.field(place), moved)
    again = world.unseen.num_rows < CANDIDATE_ROWS
    unseen = world.unseen.take(rng.choice(world.unseen.num_rows, CANDIDATE_ROWS - planted, replace=again))
    return pa.concat_tables([unseen, copied])


def _moved(cells: pa.ChunkedArray, train: pa.ChunkedArray, rng: np.random.Generator) -> pa.Array:
    """Amounts moved by up to half the column's resolution; integers and dates towards a whole number, so that they stay within it."""
    known = amounts(train)
    half = resolution(known[np.isfinite(known)]) / 2
    steps = rng.uniform(-half, half, len(cells))
    if pa.types.is_floating(cells.type):
        return pa.array(amounts(cells) + steps, mask=np.isnan(amounts(cells)))
    whole = np.nan_to_num(amounts(cells)).astype(np.int64) + np.trunc(steps).astype(np.int64)
    moved = pa.array(whole, mask=np.isnan(amounts(cells)))
    return moved.cast(pa.int32() if cells.type.bit_width == 32 else pa.int64()).cast(cells.type)


def missed(world: World, kind: Kind, seeds: range) -> Iterator[dict[str, bool]]:
    """For each seed of the planting: which gates were missed."""
    subject = Copies()
    known = subject.prepare(world.train, world.schema, seed=0)
    references = References(world.schema, Reference(world.a), Reference(world.train), known)
    ceiling = subject.measure(Measured(world.a), references, seed=0)
    for seed in seeds:
        rng = np.random.default_rng(seed)
        candidate = plant(world, kind, rng)
        rows = candidate.take(rng.choice(CANDIDATE_ROWS, world.a.num_rows, replace=False))
        found = subject.measure(Measured(rows), references, seed=0)
        scores = [
            Score(
                name=f"privacy/copies/{name}".removesuffix("/"),
                value=value,
                direction="lower",
                interval=found.intervals[name],
                ceiling=ceiling.scores[name],
                ceiling_interval=ceiling.intervals[name],
            )
            for name, value in found.scores.items()
        ]
        yield {verdict.name: verdict.status == "missed" for verdict in judge(RECIPE, scores)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=20, help="worlds with plants; five times as many without")
    seeds = parser.parse_args().seeds
    worlds: dict[str, Callable[[int], World]] = {"people": simulated}
    adult = Path(os.environ.get("SYNTHMILL_TEST_DATA", "../shared/data")).resolve() / "adult.csv"
    if adult.exists():
        from synthmill.sources import read

        found = read(adult.name, root=adult.parent, overrides={}, target="income")
        worlds["adult"] = partial(divided, found.table, found.schema)
    for name, world in worlds.items():
        for kind in ("exact", "jittered", "none"):
            many = 5 * seeds if kind == "none" else seeds
            verdicts = [next(missed(world(seed), kind, range(seed, seed + 1))) for seed in range(many)]
            rates = "  ".join(f"{key} {np.mean([v[key] for v in verdicts]):.1%}" for key in verdicts[0])
            print(f"{name:<8} {kind:<9} {many:>4} seeds, gate missed: {rates}", flush=True)


if __name__ == "__main__":
    main()
