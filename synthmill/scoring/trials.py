"""One evaluator on one table: the unit of scoring work, done anywhere, to the same values bit for bit."""

from __future__ import annotations

import inspect
import json
import math
import traceback
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal, Self

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from synthmill.columns import Schema
from synthmill.errors import Interrupted, RecipeError, SynthmillError
from synthmill.evaluator import Evaluator, Interval, Measured, Measurement, Reference, References
from synthmill.registry import evaluator
from synthmill.scoring.intervals import half
from synthmill.scoring.sides import Draw, Exam, Mixture
from synthmill.seeds import derive

Role = Literal["candidate", "ceiling", "floor"]


@dataclass(frozen=True, slots=True)
class Trial:
    """One evaluator before one mixture, with one of the three tables in the candidate's place."""

    key: str
    mixture: Mixture
    role: Role


@dataclass(frozen=True, slots=True)
class Estimate:
    """The value of all rows, then of each half-sample, by score; closed-form intervals; detail tables as lists by column."""

    values: Mapping[str, tuple[float, ...]]
    intervals: Mapping[str, Interval]
    tables: Mapping[str, Mapping[str, list[object]]]
    undefined: str = ""  # why a value is NaN

    def to_json(self) -> bytes:
        """For the cache; NaN is kept."""
        return json.dumps(asdict(self)).encode()

    @classmethod
    def from_json(cls, text: bytes) -> Self:
        """What `to_json` wrote, with the same values bit for bit."""
        plain = json.loads(text)
        values = {name: tuple(found) for name, found in plain["values"].items()}
        intervals = {name: (low, high) for name, (low, high) in plain["intervals"].items()}
        return cls(values, intervals, plain["tables"], plain["undefined"])


@dataclass(frozen=True, slots=True)
class Failed:
    """An evaluator that raised, or whose process died. `reason` and `trace`, the lines of code alone, hold no cell of data."""

    reason: str
    trace: str = ""


class Examiner:
    """Takes trials of one exam; what an evaluator prepares, it prepares once."""

    def __init__(self, exam: Exam) -> None:
        self._exam = exam
        self._prepared: dict[str, object | None] = {}

    def __call__(self, trial: Trial) -> Estimate | Failed:
        """Whatever an evaluator raises is a failed score: one that breaks must not take the others with it."""
        subject = evaluator(trial.key)()
        try:
            if trial.key not in self._prepared:
                self._prepared[trial.key] = self._prepare(trial.key, subject)
            return self._estimate(trial, subject)
        except Interrupted:
            raise
        except Exception as error:  # noqa: BLE001
            lines = () if isinstance(error, SynthmillError) else traceback.format_tb(error.__traceback__)
            return Failed(_reason(error, subject), "".join(lines))

    def _prepare(self, key: str, subject: Evaluator) -> object | None:
        exam = self._exam
        if subject.modality != exam.schema.modality:
            raise RecipeError(f"{key} measures {subject.modality} data, and this is {exam.schema.modality} data")
        if subject.needs_target and exam.schema.target is None:
            raise RecipeError(f"{key} needs source.target")
        if subject.needs_protected and exam.protected is None:
            raise RecipeError(f"{key} needs source.protected")
        schema = self._schema(subject)
        return subject.prepare(exam.real.train.select(schema.names), schema, seed=_seed(exam.seed, key, "prepare"))

    def _schema(self, subject: Evaluator) -> Schema:
        """Rules may name a parent's columns, and some measures are of what ties a child to its parent."""
        return self._exam.joined if subject.joins or subject.needs_rules else self._exam.schema

    def _estimate(self, trial: Trial, subject: Evaluator) -> Estimate:
        """Measure all rows, then half of both sides again and again; each role meets the same halves, so that their luck cancels."""
        draw = self._exam.draws[trial.mixture, subject.maximum_rows]
        measured = self._exam.measured(draw, trial.role)
        holdout, train = self._exam.real.b.take(draw.b), self._exam.real.train.take(draw.train)
        measured, holdout, train = (side.select(self._schema(subject).names) for side in (measured, holdout, train))
        found = []
        for replicate in range(1 + subject.replicates):
            sides = (measured, holdout, train)
            if replicate:
                own, reference = self._half(draw, replicate, "measured"), self._half(draw, replicate, "reference")
                sides = (measured.take(own), holdout.take(reference), train.take(reference))
            found.append(self._measure(trial.key, subject, sides, replicate))
        values = {
            name: (value, *(m.uncut.get(name, m.scores.get(name, math.nan)) for m in found[1:]))
            for name, value in found[0].scores.items()
        }
        tables = {name: _plain(table) for name, table in found[0].tables.items()}
        return Estimate(values, dict(found[0].intervals), tables, found[0].undefined)

    def _measure(
        self, key: str, subject: Evaluator, sides: tuple[pa.Table, pa.Table, pa.Table], replicate: int
    ) -> Measurement:
        """Replicate 0 is all rows. Privacy meets all train rows each time: they are the given, not a draw."""
        exam, (measured, holdout, train) = self._exam, sides
        schema = self._schema(subject)
        references = References(
            schema,
            Reference(holdout),
            Reference(exam.real.train.select(schema.names) if subject.against == "train" else train),
            self._prepared[key],
            exam.rules,
            exam.protected,
        )
        return subject.measure(Measured(measured), references, seed=_seed(exam.seed, key, replicate))

    def _half(self, draw: Draw, replicate: int, side: str) -> NDArray[np.int64]:
        return half(draw.quotas, np.random.default_rng(derive(self._exam.seed, "half", replicate, side)))


def _plain(table: pa.Table) -> dict[str, list[object]]:
    """Columns as lists that JSON holds: what is found in the cache is what was measured."""
    return {
        name: [cell if isinstance(cell, str | int | float | None) else str(cell) for cell in cells]
        for name, cells in table.to_pydict().items()
    }


def _reason(error: Exception, subject: Evaluator) -> str:
    """Our own errors hold no cell of data; of others' only the type and the evaluator's line are safe to print."""
    if isinstance(error, SynthmillError):
        return error.what
    own = [
        frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename == inspect.getfile(type(subject))
    ]
    at = f" at {Path(own[-1].filename).name}:{own[-1].lineno}" if own else ""
    return f"{type(error).__name__}{at}"


def _seed(*parts: object) -> int:
    """31 bits, which every library takes for a seed."""
    return derive(*parts) % 2**31
