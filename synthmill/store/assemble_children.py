"""Assemble a child table: each made row gets its parent's key and stratum, and is written twice.

What is released has the child's own columns; what is scored, in state, is one row of each family, joined with the columns of its
parent. Row r of a job is slot r.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow as pa

from synthmill.plan import JobPlan, Plan
from synthmill.sources.children import one_a_family
from synthmill.store.assemble import ROW_GROUP_ROWS, JobRows, StratumCount, file_name, file_sizes, writer
from synthmill.store.files import storage_errors
from synthmill.store.slots import KEY, STRATUM, Slots
from synthmill.store.state import State


def write_children(
    plan: Plan, state: State, slots: Slots, released: Path, joined: Path, progress: Callable[[int], None]
) -> tuple[tuple[StratumCount, ...], ...]:
    """Write the files of both folders; the counts of each job, in plan order."""
    readers = {job.index: JobRows(job, plan.recipe.accept, state) for job in plan.jobs}
    pieces = {job.index: _pieces(job, readers[job.index], slots, plan) for job in plan.jobs}
    sizes, written = file_sizes(plan), 0
    for folder in (released, joined):
        folder.mkdir(parents=True)
    for number, (job, size) in enumerate(sizes):
        name, reader = file_name(number, len(sizes)), readers[job.index]
        with (
            storage_errors(released / name),
            writer(released / name, _released_schema(plan, reader.schema), plan.recipe.dataset) as own_file,
            writer(joined / name, reader.schema, plan.recipe.dataset) as joined_file,
        ):
            for _ in range(0, size, ROW_GROUP_ROWS):
                own, whole = next(pieces[job.index])
                own_file.write_table(own, row_group_size=ROW_GROUP_ROWS)
                joined_file.write_table(whole.filter(_scored(whole, plan)), row_group_size=ROW_GROUP_ROWS)
                written += own.num_rows
                progress(written)
    return tuple(readers[job.index].counts() for job in plan.jobs)


def _scored(joined: pa.Table, plan: Plan) -> pa.Array:
    assert plan.belonging is not None, "it is a child's plan"
    return pa.array(one_a_family(joined, plan.belonging.context, plan.belonging.count))


def _released_schema(plan: Plan, joined: pa.Schema) -> pa.Schema:
    """The child's columns as in its file, then the provenance that every row has."""
    provenance = [joined.field(index) for index in range(len(plan.jobs[0].schema_), len(joined))]
    return pa.schema([*plan.released.arrow, *provenance])


def _pieces(job: JobPlan, rows: JobRows, slots: Slots, plan: Plan) -> Iterator[tuple[pa.Table, pa.Table]]:
    """Row groups of a job as they are released and as they are scored; each file starts a new one."""
    assert plan.belonging is not None, "it is a child's plan"
    largest, released = plan.recipe.release.rows_per_file, _released_schema(plan, rows.schema)
    start = 0
    while start < job.rows:
        size = min(ROW_GROUP_ROWS, largest - start % largest, job.rows - start)
        given = slots.given(job.index, (KEY, STRATUM), start, start + size)
        made = rows.take(size)
        whole = made.set_column(made.schema.get_field_index(STRATUM), STRATUM, given[STRATUM].combine_chunks())
        own = whole.append_column(plan.belonging.reference, given[KEY])
        yield own.select(released.names).cast(released), whole.cast(rows.schema)
        start += size
