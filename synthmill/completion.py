"""Rows of which some cells are given, filled by a model: the work itself, in a process of its own.

Attempt a at row r of a file is candidate 2^32 a + r of one stream, and a row takes its first attempt that passes the filters. So what
it becomes depends on its number and its own cells alone, however many attempts are made at once and whatever stands beside it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from synthmill.child import AGAIN, Child, Done, Failure, Lost, attempt
from synthmill.conditions import mask
from synthmill.engine import ShouldStop
from synthmill.errors import RunError
from synthmill.filters import CONDITION_REASON
from synthmill.generator import SampleRequest
from synthmill.kits import Kit, draw_given
from synthmill.seeds import derive
from synthmill.sources.partial import is_unknown
from synthmill.work import Sampler

MOST_ATTEMPTS = 1 << 10  # with 2^32 rows, candidates below 2^42
MISSING_REASON = "drawn as missing each time"
UNKNOWN_REASON = "with a value that train never had"
_ROWS = 1 << 32

OnUnknown = Literal["refuse", "keep", "blank"]
"""What becomes of a row with a label that train never had: none may be there; its gaps stay; or they are filled as if it had no label."""

Numbers = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class CompletionTask:
    """What completes rows: a kit with one stratum, and how often a row is tried. `exact` columns reach the generator as given.

    `known` are the labels of a column that the generator can be given; a column without may have any.
    """

    kit: Kit
    exact: frozenset[str]
    attempts: int
    known: Mapping[str, pa.Array] = field(default_factory=dict)
    on_unknown: OnUnknown = "refuse"


@dataclass(frozen=True, slots=True)
class PartialRows:
    """Rows of a file from number `first` on; a null is to be filled, and so is every cell of a column that `cells` lacks."""

    cells: pa.Table
    first: int
    completion: int = 0  # which one, where several are made of the same rows


@dataclass(frozen=True, slots=True)
class FilledRows:
    """The same rows with all columns. What could not be filled is null, those rows counted by reason."""

    table: pa.Table
    filled: int  # cells
    unfilled: Mapping[str, int] = field(default_factory=dict)


class Completer:
    """A loaded generator that fills rows."""

    def __init__(self, task: CompletionTask) -> None:
        self._task, self._sampler = task, Sampler(task.kit)
        [self._stratum] = task.kit.strata
        self._schema = task.kit.job.schema_

    def complete(self, rows: PartialRows) -> FilledRows:
        """Fill all rows that lack a cell; the others, and every given cell, stay as they are."""
        choice = _Choice(rows.cells.num_rows)
        open_rows = self._open(rows.cells)
        choice.reasons[open_rows[self._is_contrary(rows.cells)[open_rows]]] = CONDITION_REASON
        if self._task.on_unknown == "keep":
            choice.reasons[open_rows[self._is_unknown(rows.cells)[open_rows]]] = UNKNOWN_REASON
        pending, tried = open_rows[choice.reasons[open_rows] == None], 0  # noqa: E711 - elementwise
        while len(pending) and tried < self._task.attempts:
            most = max(1, self._task.kit.job.micro_batch // len(pending))
            attempts = range(tried, min(tried + most, self._task.attempts))
            made, reasons = self._try(rows, pending, attempts)
            choice.take(pending, made, reasons)
            pending, tried = pending[choice.reasons[pending] != None], attempts.stop  # noqa: E711 - elementwise
        return self._filled(rows.cells, choice)

    def _open(self, cells: pa.Table) -> Numbers:
        """The places of rows that lack a cell."""
        if cells.num_columns < len(self._schema):
            return np.arange(cells.num_rows)
        return np.flatnonzero(~_present(cells).all(1))

    def _is_contrary(self, cells: pa.Table) -> NDArray[np.bool_]:
        """Rows whose given cells break a condition of the job, which no attempt could mend; (rows,)."""
        contrary = np.zeros(cells.num_rows, np.bool_)
        for name, condition in self._stratum.where.items():
            if name in cells.column_names:
                met = mask(cells[name], condition, self._task.kit.source[name])
                contrary |= pc.and_(pc.is_valid(cells[name]), pc.invert(met)).to_numpy()
        return contrary

    def _is_unknown(self, cells: pa.Table) -> NDArray[np.bool_]:
        """Rows with a label that the generator cannot be given; (rows,)."""
        found = np.zeros(cells.num_rows, np.bool_)
        for name in self._task.known.keys() & set(cells.column_names):
            found |= is_unknown(cells[name], self._task.known[name])
        return found

    def _try(self, rows: PartialRows, places: Numbers, attempts: range) -> tuple[pa.Table, NDArray[np.object_]]:
        """Each attempt at each row: the rows in that order, and why each is rejected or None, (places, attempts)."""
        cells = rows.cells.take(np.repeat(places, len(attempts)))
        numbers = rows.first + np.repeat(places, len(attempts)) + _ROWS * np.tile(attempts, len(places))
        size, key = self._task.kit.job.micro_batch, derive(self._stratum.fingerprint, "completion", rows.completion)
        batches = [
            self._sample(cells.slice(start, size), numbers[start : start + size], key)
            for start in range(0, len(numbers), size)
        ]
        made = pa.concat_tables(table for table, _ in batches)
        reasons = self._sampler.filters.judge(made, self._stratum.where).reject
        is_lacking = ~_present(made.select(cells.column_names)).all(1)
        reasons[is_lacking & (reasons == None)] = MISSING_REASON  # noqa: E711
        lost = np.concatenate([lost for _, lost in batches])
        reasons = np.where(lost == None, reasons, lost)  # noqa: E711
        return made, reasons.reshape(len(places), len(attempts))

    def _sample(self, cells: pa.Table, numbers: Numbers, key: int) -> tuple[pa.Table, NDArray[np.object_]]:
        """One micro-batch, padded to be whole: the rows with their given cells put back, and why the generator made none."""
        size = self._task.kit.job.micro_batch
        padded = np.concatenate([numbers, _ROWS * MOST_ATTEMPTS + np.arange(size - len(numbers))])
        given = self._given(cells.take(np.arange(size) % len(numbers)), padded, key)
        answer = self._sampler.ask(SampleRequest(padded, key, given, _present(given)))
        places = pc.index_in(pa.array(numbers), value_set=pa.array(answer.candidates))
        made = answer.table.cast(self._schema.arrow).take(places)  # all null where there is no such candidate
        lost = np.full(len(numbers), None, dtype=object)
        for place in np.flatnonzero(places.is_null()):
            lost[place] = answer.rejects.get(int(numbers[place]), "not made")
        return _overlaid(cells, made), lost

    def _given(self, cells: pa.Table, numbers: Numbers, key: int) -> pa.Table:
        """What the generator is told of each candidate: its cells, else what the job's conditions leave to be drawn."""
        columns = {name: self._known(name, cells) for name in cells.column_names if name in self._task.exact}
        drawn = draw_given(self._stratum, numbers, key)
        for name in drawn.column_names:
            columns[name] = pc.coalesce(columns[name], drawn[name]) if name in columns else drawn[name]
        return pa.table(columns)

    def _known(self, name: str, cells: pa.Table) -> pa.ChunkedArray:
        """A column as the generator can be given it."""
        column = cells[name]
        if self._task.on_unknown != "blank" or name not in self._task.known:
            return column
        return pc.if_else(is_unknown(column, self._task.known[name]), pa.scalar(None, column.type), column)

    def _filled(self, cells: pa.Table, choice: _Choice) -> FilledRows:
        table = _overlaid(cells, choice.rows(self._schema.arrow))
        nulls = sum(cells[name].null_count for name in cells.column_names)
        nulls += cells.num_rows * (len(self._schema) - cells.num_columns)
        filled = nulls - sum(column.null_count for column in table.columns)
        return FilledRows(table, filled, Counter(reason for reason in choice.reasons if reason is not None))


class _Choice:
    """Which attempt each row takes: the first that is accepted, else the first that lacks nothing but a value."""

    def __init__(self, rows: int) -> None:
        self.reasons = np.full(rows, None, dtype=object)  # why a row is not filled, so far
        self._places = np.full(rows, -1)  # in the kept rows
        self._kept: list[pa.Table] = []
        self._count = 0

    def take(self, rows: Numbers, made: pa.Table, reasons: NDArray[np.object_]) -> None:
        """Look at the next attempts at `rows`; `reasons` is (rows, attempts), `made` has a row for each of its cells."""
        is_accepted, is_close = reasons == None, reasons == MISSING_REASON  # noqa: E711 - elementwise
        was_close = self._places[rows] >= 0
        self._keep(rows, made, is_close & ~was_close[:, None])
        self._keep(rows, made, is_accepted)
        self.reasons[rows] = reasons[:, -1]
        self.reasons[rows[is_close.any(1) | was_close]] = MISSING_REASON
        self.reasons[rows[is_accepted.any(1)]] = None

    def _keep(self, rows: Numbers, made: pa.Table, wanted: NDArray[np.bool_]) -> None:
        """Each row takes the first of its attempts that is wanted."""
        found = np.flatnonzero(wanted.any(1))
        self._kept.append(made.take(found * wanted.shape[1] + wanted[found].argmax(1)))
        self._places[rows[found]] = self._count + np.arange(len(found))
        self._count += len(found)

    def rows(self, schema: pa.Schema) -> pa.Table:
        """The attempt that each row takes, all null for a row without one."""
        kept = pa.concat_tables([schema.empty_table(), *self._kept])
        return kept.take(pa.array(self._places, mask=self._places < 0))


def _present(cells: pa.Table) -> NDArray[np.bool_]:
    """Where there is a value, (rows, columns)."""
    columns = [pc.is_valid(column).to_numpy() for column in cells.columns]
    return np.stack(columns, 1) if columns else np.ones((cells.num_rows, 0), np.bool_)


def _overlaid(cells: pa.Table, made: pa.Table) -> pa.Table:
    """`made` with the cells that are there put back, to the bit."""
    columns = [
        pc.coalesce(cells[name], made[name]) if name in cells.column_names else made[name] for name in made.column_names
    ]
    return pa.table(columns, schema=made.schema)


@contextmanager
def completing(task: CompletionTask, should_stop: ShouldStop) -> Iterator[Callable[[PartialRows], FilledRows]]:
    """A loaded process for the block, to be asked again and again; raises what it raises, RunError where it dies, Interrupted."""
    with Child(_serve, task) as child:

        def answer() -> object:
            try:
                message = child.wait(should_stop)
            except Lost as lost:
                raise RunError(f"the completion failed: {lost}", hint=AGAIN) from None
            if isinstance(message, Failure):
                message.raise_as(RunError, "the completion")
            assert isinstance(message, Done)
            return message.result

        def complete(rows: PartialRows) -> FilledRows:
            child.send(rows)
            filled = answer()
            assert isinstance(filled, FilledRows)
            return filled

        answer()  # the model is loaded
        yield complete


def _serve(pipe: Connection, task: CompletionTask) -> None:
    """In the child: load, say so, then an answer for every piece."""
    loaded = attempt(Completer, task)
    if isinstance(loaded, Failure):
        pipe.send(loaded)
        return
    pipe.send(Done(None))
    while True:
        pipe.send(attempt(loaded.result.complete, pipe.recv()))
