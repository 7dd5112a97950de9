"""Slots: for each child row to make, what it is given of its parent. Parquet files in state, one a job of the first table.

Besides the parent's columns and the place among the siblings a slot holds the parent's new key and its stratum, which the child's
row takes over. Rows are read and written in pieces, so memory is flat.
"""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from synthmill.child_plan import JobSlots
from synthmill.columns import Column
from synthmill.fingerprint import hash_file
from synthmill.plan import Plan
from synthmill.sources.children import PARENT, PLACE, count_column
from synthmill.store.files import aside_of, publish_folder, storage_errors

KEY, STRATUM = "_key", "_stratum"
_PARENTS = 4_096  # read at a time; each has a few children
_INDEX = "slots.json"


def write_slots(
    folder: Path, parents: Path, plan: Plan, child: Plan, train: pa.Table, progress: Callable[[int], None]
) -> None:
    """The slots of `child` for the assembled rows of the first table in `parents`, whole or not at all; `train` are its joined rows."""
    aside = aside_of(folder)
    with storage_errors(folder):
        try:
            aside.mkdir(parents=True)
            found = [_write_job(aside, parents, plan, job, child, train, progress) for job in range(len(plan.jobs))]
            (aside / _INDEX).write_text(json.dumps([asdict(job) for job in found]))
            publish_folder(aside, folder)
        finally:
            shutil.rmtree(aside, ignore_errors=True)


def read_slots(folder: Path) -> tuple[JobSlots, ...]:
    """How many there are, by job of the first table."""
    return tuple(JobSlots(**job) for job in json.loads((folder / _INDEX).read_text()))


def _write_job(
    folder: Path, parents: Path, plan: Plan, job: int, child: Plan, train: pa.Table, progress: Callable[[int], None]
) -> JobSlots:
    familiar = _Familiar(child, train)
    path, families, rows = _path(folder, job), Counter[str](), 0
    with pq.ParquetWriter(path, _schema(plan, child), compression="zstd", compression_level=1) as writer:
        for batch in _parents_of(parents, plan, job):
            slots = _spread(batch, child, familiar)
            firsts = pc.value_counts(slots.filter(pc.equal(slots[PLACE], 1))[STRATUM])
            families.update({entry["values"]: entry["counts"] for entry in firsts.to_pylist()})
            writer.write_table(slots.cast(writer.schema))
            rows += slots.num_rows
            progress(rows)
    return JobSlots(rows, hash_file(path), dict(families))


def _schema(plan: Plan, child: Plan) -> pa.Schema:
    assert child.belonging is not None, "it is a child's plan"
    context = [pa.field(name, child.source.schema_[name].arrow) for name in child.belonging.context]
    key = pa.field(KEY, plan.released[child.belonging.key].arrow)
    return pa.schema([*context, key, pa.field(STRATUM, pa.string())])


def _parents_of(folder: Path, plan: Plan, job: int) -> Iterator[pa.Table]:
    """A job's rows in their order, some thousands at a time; each job starts a new file."""
    ends = np.cumsum([other.rows for other in plan.jobs])
    start = 0
    for path in sorted(folder.glob("*.parquet")):
        with pq.ParquetFile(path) as file:
            if np.searchsorted(ends, start, side="right") == job:
                for batch in file.iter_batches(_PARENTS):
                    yield pa.Table.from_batches([batch])
            start += file.metadata.num_rows


def _spread(parents: pa.Table, child: Plan, familiar: _Familiar) -> pa.Table:
    """A row for each child of each parent, in their order."""
    assert child.belonging is not None, "it is a child's plan"
    counts = parents[count_column(child.recipe.dataset)].to_numpy()
    owner = np.repeat(np.arange(len(counts)), counts)
    first = np.repeat(np.cumsum(counts) - counts, counts)
    columns = {
        name: familiar(name, parents[name.removeprefix(PARENT)]).take(owner)
        for name in child.belonging.context
        if name != PLACE
    }
    columns[PLACE] = pa.array(np.arange(len(owner)) - first + 1)
    columns[KEY] = parents[child.belonging.key].take(owner)
    columns[STRATUM] = parents["_stratum"].take(owner)
    return pa.table({name: columns[name] for name in (*child.belonging.context, KEY, STRATUM)})


class _Familiar:
    """Cells as the child's model knows them.

    A parent's label, or its missing value, that no train row with children has cannot be given: the commonest one stands for it. Nothing is
    known of what the children of such a parent are like.
    """

    def __init__(self, child: Plan, train: pa.Table) -> None:
        assert child.belonging is not None, "it is a child's plan"
        self._known = {name: _known(child.source.schema_[name], train[name]) for name in child.belonging.context}

    def __call__(self, name: str, cells: pa.ChunkedArray) -> pa.ChunkedArray:
        """The same cells, or what stands for them."""
        known, stand_in = self._known[name]
        is_known = cells.is_valid() if known is None else pc.is_in(cells, value_set=known)
        return pc.if_else(is_known, cells, stand_in)


def _known(column: Column, cells: pa.ChunkedArray) -> tuple[pa.Array | None, pa.Scalar]:
    """The values that can be given, None where any number can, and what stands for the others, which may be a missing value itself."""
    counted = pc.value_counts(cells.combine_chunks())
    values, counts = counted.field("values"), counted.field("counts")
    commonest = values[int(np.argmax(counts.to_numpy()))]
    if column.is_discrete:
        return values, commonest
    return None, pa.scalar(None, column.arrow) if cells.null_count else commonest


@dataclass(frozen=True, slots=True)
class Slots:
    """The slots of one child table, read by ranges."""

    folder: Path

    def given(self, job: int, names: tuple[str, ...], start: int, stop: int) -> pa.Table:
        """Slots [start, stop) with these columns; beyond the last one they begin again, to fill a micro-batch."""
        path = _path(self.folder, job)
        rows = _group_ends(path)[-1]
        found = []
        while start < stop:
            first = start % rows
            last = min(rows, first + stop - start)
            found.append(_read(path, names, first, last))
            start += last - first
        return pa.concat_tables(found)

    def pieces(self, job: int, names: tuple[str, ...], rows: int) -> Iterator[pa.Table]:
        """All slots of a job in their order, `rows` at a time."""
        total = _group_ends(_path(self.folder, job))[-1]
        for start in range(0, total, rows):
            yield self.given(job, names, start, min(total, start + rows))


def _path(folder: Path, job: int) -> Path:
    return folder / f"{job:05d}.parquet"


@cache
def _group_ends(path: Path) -> tuple[int, ...]:
    """The number of rows up to the end of each row group."""
    groups = pq.read_metadata(path)
    return tuple(int(end) for end in np.cumsum([groups.row_group(i).num_rows for i in range(groups.num_row_groups)]))


def _read(path: Path, names: tuple[str, ...], start: int, stop: int) -> pa.Table:
    ends = _group_ends(path)
    low, high = np.searchsorted(ends, [start, stop - 1], side="right")
    before = ends[low - 1] if low else 0
    with pq.ParquetFile(path) as file:
        rows = file.read_row_groups(range(int(low), int(high) + 1), columns=list(names))
    return rows.select(names).slice(start - before, stop - start)
