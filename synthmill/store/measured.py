"""Everything that was measured of a candidate, in state: what its report, card and plots can be made of again without a measurement.

measured/scores.json            scores of the whole dataset and of each job, and histograms
measured/samples.arrow          synthetic rows
measured/tables/KEY/NAME.arrow  the evaluators' details
"""

from __future__ import annotations

import shutil
from pathlib import Path

import pyarrow as pa
from pydantic import BaseModel, ConfigDict

from synthmill.evaluator import Score
from synthmill.scoring import Scores
from synthmill.scoring.histograms import Histogram
from synthmill.store.files import aside_of, publish_folder, storage_errors


class _Numbers(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    scores: tuple[Score, ...]
    by_job: tuple[tuple[Score, ...], ...]
    histograms: tuple[Histogram, ...]
    tables: tuple[str, ...]  # in their order


def write_measured(folder: Path, scores: Scores) -> None:
    """Whole or not at all; what an earlier measurement left is replaced."""
    numbers = _Numbers(
        scores=scores.scores, by_job=scores.by_job, histograms=scores.histograms, tables=tuple(scores.tables)
    )
    shutil.rmtree(folder, ignore_errors=True)
    aside = aside_of(folder)
    with storage_errors(folder):
        try:
            aside.mkdir(parents=True)
            (aside / "scores.json").write_text(numbers.model_dump_json())
            _write_table(aside / "samples.arrow", scores.samples)
            for name, table in scores.tables.items():
                _write_table(_place(aside, name), table)
            publish_folder(aside, folder)
        finally:
            shutil.rmtree(aside, ignore_errors=True)


def read_measured(folder: Path) -> Scores:
    """What `write_measured` was given."""
    numbers = _Numbers.model_validate_json((folder / "scores.json").read_bytes())
    return Scores(
        scores=numbers.scores,
        by_job=numbers.by_job,
        tables={name: _read_table(_place(folder, name)) for name in numbers.tables},
        histograms=numbers.histograms,
        samples=_read_table(folder / "samples.arrow"),
    )


def _place(folder: Path, name: str) -> Path:
    return folder / "tables" / f"{name}.arrow"


def _write_table(path: Path, table: pa.Table) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, table.schema) as writer:
        writer.write_table(table)


def _read_table(path: Path) -> pa.Table:
    with pa.OSFile(str(path), "rb") as file:
        return pa.ipc.open_file(file).read_all()
