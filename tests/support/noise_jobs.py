"""A small source and jobs of `table/noise` over it, for the tests of engines and bookkeeping."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from synthmill.columns import Column, Schema
from synthmill.engine import Engine, Progress
from synthmill.job_run import JobRun
from synthmill.kits import Kit, make_kit
from synthmill.plan import Plan, make_plan
from synthmill.spec import Recipe
from synthmill.store.staging import Judge, Receipt, read_receipts
from synthmill.store.state import State
from synthmill.work import FitTask, FittedModel, fit_model

SCHEMA = Schema(
    columns=(
        Column(name="height", kind="number", dtype="double"),
        Column(name="rings", kind="integer", dtype="int64"),
        Column(name="colour", kind="category", dtype="string"),
    ),
    target="rings",
)
COLOURS = ("blue", "green", "red")


def train_table(rows: int = 90) -> pa.Table:
    return pa.table(
        {
            "height": [0.5 + i / rows for i in range(rows)],
            "rings": [i % 7 for i in range(rows)],
            "colour": [COLOURS[i % 3] for i in range(rows)],
        },
        schema=SCHEMA.arrow,
    )


@dataclass(frozen=True)
class NoiseJob:
    """One planned job, its state, and what an engine needs to run it."""

    plan: Plan
    state: State

    @property
    def task(self) -> FitTask:
        return FitTask(self.plan.models[0], SCHEMA, self.plan.recipe.seed, "cpu")

    def kit(self, model: FittedModel) -> Kit:
        accept = self.plan.recipe.accept
        return make_kit(
            self.plan.jobs[0],
            model.files,
            SCHEMA,
            train_table(),
            rules=self.plan.recipe.rules,
            reject_copies=accept.copies_of_train == "reject",
            device="cpu",
        )

    def run(self, workers: int = 1) -> JobRun:
        return JobRun(self.plan.jobs[0], self.plan.recipe.accept, self.state, workers=workers)

    def fitted(self) -> FittedModel:
        """Fitted in this process, which is faster than any engine."""
        return fit_model(self.task, train_table(), lambda step, steps, loss: None)

    def generate(self, engine: Engine, seen: list[Progress] | None = None) -> JobRun:
        """Generate to the end with `engine`."""
        run = self.run(engine.workers)
        progress = (seen if seen is not None else []).append
        engine.generate(run, self.kit(self.fitted()), self.state.shards, progress, never)
        run.close()
        return run

    def receipts(self) -> list[Receipt]:
        """Of all strata."""
        folders = [self.state.staging(stratum.staging) for stratum in self.plan.jobs[0].strata]
        return [receipt for folder in folders for receipt in read_receipts(folder)]

    def candidates(self) -> dict[str, pa.Table]:
        """Every judged candidate of each stratum with all that is staged about it, in order."""
        return {stratum.label: self._candidates(stratum.staging) for stratum in self.plan.jobs[0].strata}

    def _candidates(self, staging: str) -> pa.Table:
        folder = self.state.staging(staging)
        shards = [
            pq.read_table(folder / f"{receipt.file}.parquet") for receipt in read_receipts(folder) if receipt.file
        ]
        return pa.concat_tables(shards).sort_by("_candidate")

    def accepted(self) -> dict[str, pa.Table]:
        """The rows of each stratum, as assembling will find them."""
        names = [*SCHEMA.names]
        rows = {}
        for stratum in self.plan.jobs[0].strata:
            folder = self.state.staging(stratum.staging)
            judge = Judge(folder, rows=stratum.rows, limit=10**9, unique=self.plan.recipe.accept.unique)
            parts = [part for receipt in read_receipts(folder) for part in judge.judge(receipt, names)]
            rows[stratum.label] = pa.concat_tables(parts).combine_chunks()
            judge.close()
        return rows


def noise_job(
    root: Path,
    *,
    rows: int = 1000,
    params: Mapping[str, object] | None = None,
    accept: Mapping[str, object] | None = None,
    rules: tuple[str, ...] = (),
    **job: object,
) -> NoiseJob:
    """A planned job with its own state under `root`; `params` are those of `table/noise`."""
    recipe = Recipe.model_validate(
        {
            "dataset": "noise",
            "source": {"path": "memory.csv"},
            "jobs": ({"generator": "table/noise", "rows": rows, "params": dict(params or {}), **job},),
            "accept": dict(accept or {}),
            "rules": rules,
        }
    )
    holdout = train_table(30)
    return NoiseJob(make_plan(recipe, SCHEMA, train_table(), holdout, holdout), State(root))


def same_rows(left: Mapping[str, pa.Table], right: Mapping[str, pa.Table]) -> bool:
    return left.keys() == right.keys() and all(left[name].equals(right[name]) for name in left)


def never() -> bool:
    return False
