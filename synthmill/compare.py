"""`synthmill score`: any synthetic table against real ones, measured as a run measures its candidates, without recipe or workspace."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from synthmill import registry
from synthmill.child import Note
from synthmill.columns import Kind, Schema
from synthmill.console import Reporter
from synthmill.engine import ShouldStop
from synthmill.errors import InputError, RecipeError, SourceError
from synthmill.examine import examine
from synthmill.inline import Inline
from synthmill.measures import fitting
from synthmill.outcome import Scored
from synthmill.plan import versions_of
from synthmill.report.inputs import ReportInput, SourceFacts
from synthmill.report.machine import report_json
from synthmill.report.render import render
from synthmill.resolve import Real
from synthmill.rules import Rules
from synthmill.scoring import Scores, most_rows
from synthmill.scoring.references import StratumShare
from synthmill.scoring.sides import Exam, Subject, draw_exam
from synthmill.scoring.sides import Real as RealRows
from synthmill.sources import read
from synthmill.sources.split import split
from synthmill.sources.stream import other_columns
from synthmill.spec import ColumnOverride
from synthmill.store.files import publish_bytes
from synthmill.synthetic_side import gathered
from synthmill.words import column_lines

_PACKAGES = ("numpy", "pyarrow", "scikit-learn", "xgboost-cpu")
_OPTIONS = {
    "source.target": "--target",
    "source.columns.": "--set-kind ",
    "source.holdout": "--holdout",
    "rules.": "--rules ",
}


@dataclass(frozen=True, slots=True)
class CompareRequest:
    """What was asked for; the three tables are whatever a source can be, anywhere on this machine."""

    synthetic: str
    train: str
    holdout: str
    target: str | None = None
    protected: str | None = None
    scores: tuple[str, ...] = ()  # every evaluator that fits, where none is named
    kinds: tuple[str, ...] = ()  # COLUMN=KIND
    rules: tuple[str, ...] = ()
    seed: int = 0
    out: Path | None = None

    @property
    def name(self) -> str:
        """What the synthetic table is called in the report."""
        return _name(self.synthetic)

    @property
    def folder(self) -> Path:
        """Where the report goes."""
        return self.out or Path("scores") / Path(self.name).stem


class Comparison(Scored):
    """The scores of a table, and the folder that holds report.html and report.json."""

    synthetic: str
    rows: int
    train_rows: int
    holdout_rows: int
    path: str
    seconds: float


def compare(request: CompareRequest, reporter: Reporter, should_stop: ShouldStop) -> Comparison:
    """Read the three tables, measure, write the report. Real rows are held in memory, synthetic ones are drawn from."""
    started, root = time.monotonic(), Path.cwd()
    allowed = (Path(root.anchor),)
    with _naming_options():
        real = _read_real(request, root, allowed)
        schema = real.source.schema
        keys = _evaluators(request, schema)
        Rules(request.rules, schema)  # a rule that cannot run is better known before the rows are read
    for line in _source_lines(request, real, root, allowed):
        reporter.say(line)
    with gathered(
        request.synthetic, schema, root=root, allowed=allowed, reporter=reporter, should_stop=should_stop
    ) as side:
        subject = Subject(
            candidate=side.folder,
            real=RealRows(real.parts.a, real.parts.b, real.parts.train),
            schema=schema,
            strata=(StratumShare(job=0, label="all", where={}, rows=side.rows),),
            seed=request.seed,
            rules=request.rules,
            protected=request.protected,
        )
        scores = _measure(subject, keys, reporter, should_stop)
    _write_report(request, real, side.rows, scores)
    return Comparison(
        scores=scores.scores,
        by_job=(),
        gates=(),
        synthetic=request.name,
        rows=side.rows,
        train_rows=real.parts.train.num_rows,
        holdout_rows=real.parts.a.num_rows + real.parts.b.num_rows,
        path=str(request.folder),
        seconds=round(time.monotonic() - started, 2),
    )


def _read_real(request: CompareRequest, root: Path, allowed: Sequence[Path]) -> Real:
    source = read(request.train, root=root, overrides=_overrides(request.kinds), target=request.target, allowed=allowed)
    if request.protected is not None and request.protected not in source.schema:
        hint = f"columns: {', '.join(source.schema.names)}"
        raise InputError("train has no such column", where=f"--protected {request.protected}", hint=hint)
    return Real(source, split(source.table, source.schema, request.holdout, root=root, allowed=allowed))


def _overrides(kinds: Sequence[str]) -> dict[str, ColumnOverride]:
    found = {}
    for text in kinds:
        name, _, kind = text.partition("=")
        if not name or kind not in get_args(Kind):
            hint = f"for example --set-kind zip=category; kinds: {', '.join(get_args(Kind))}"
            raise InputError("a kind is given as COLUMN=KIND", where=f"--set-kind {text}", hint=hint)
        found[name] = ColumnOverride.model_validate({"kind": kind})
    return found


def _evaluators(request: CompareRequest, schema: Schema) -> tuple[str, ...]:
    """The evaluators asked for, which must fit; else all that do."""
    if not request.scores:
        return fitting(schema, protected=request.protected, rules=request.rules)
    for key in request.scores:
        if (reason := _why_not(key, request, schema)) is not None:
            raise InputError(f"{key} {reason}", where=f"--scores {key}")
    return request.scores


def _why_not(key: str, request: CompareRequest, schema: Schema) -> str | None:
    kind = registry.evaluator(key, where="--scores")
    if kind.modality != schema.modality:
        return f"measures {kind.modality} data, and this is {schema.modality} data"
    if kind.needs_target and schema.target is None:
        return "needs --target"
    if kind.needs_protected and request.protected is None:
        return "needs --protected"
    return None


def _measure(subject: Subject, keys: Sequence[str], reporter: Reporter, should_stop: ShouldStop) -> Scores:
    with Inline() as engine:
        return examine(_draw, (subject, most_rows(keys)), keys, engine, reporter, should_stop)


def _draw(task: tuple[Subject, tuple[int, ...]], _: Note) -> Exam:
    return draw_exam(*task)


def _source_lines(request: CompareRequest, real: Real, root: Path, allowed: Sequence[Path]) -> Iterator[str]:
    """How train was understood, and what of the others is left out; counts and names, never a cell."""
    parts, schema = real.parts, real.source.schema
    yield f"train {request.train}: {parts.train.num_rows:,} rows"
    yield from column_lines(real.source, {request.protected: "protected", schema.target: "target"})
    yield from (f"note: {note}" for note in real.source.notes)
    yield f"holdout {request.holdout}: {parts.a.num_rows:,} + {parts.b.num_rows:,} rows"
    for uri in (request.holdout, request.synthetic):
        if others := other_columns(uri, schema, root=root, allowed=allowed):
            yield f"note: columns of {uri} that train does not have are left out: {', '.join(others)}"


def _write_report(request: CompareRequest, real: Real, rows: int, scores: Scores) -> None:
    train_rows, holdout_rows = real.parts.train.num_rows, real.parts.a.num_rows + real.parts.b.num_rows
    report = ReportInput(
        dataset=request.name,
        schema=real.source.schema,
        rows=rows,
        strata=(),
        scores=scores,
        facts=(("holdout", _name(request.holdout)), ("seed", str(request.seed)), *versions_of(_PACKAGES).items()),
        source=SourceFacts(_name(request.train), train_rows, holdout_rows, request.target, request.protected),
    )
    publish_bytes(request.folder / "report.html", render(report).encode())
    publish_bytes(request.folder / "report.json", report_json(report))


def _name(uri: str) -> str:
    """A file's name without its folders, which say where this machine keeps it."""
    return Path(uri).name or uri


@contextmanager
def _naming_options() -> Iterator[None]:
    """What a recipe calls source.target is an option here."""
    try:
        yield
    except (RecipeError, SourceError) as error:
        where = error.where
        for key, option in _OPTIONS.items():
            where = where.replace(key, option)
        raise type(error)(error.what, where=where, hint=error.hint) from error
