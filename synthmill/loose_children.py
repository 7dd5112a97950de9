"""Rows of a child table outside of a run: for rows of the first table that were made there too, the same that a run makes for them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import pyarrow as pa
import pyarrow.parquet as pq

from synthmill.child_plan import with_slots
from synthmill.families import naming_child
from synthmill.loose import Files, LooseJobs
from synthmill.plan import Plan
from synthmill.store.assemble import file_name
from synthmill.store.slots import KEY, Slots, read_slots, write_slots


@dataclass(frozen=True, slots=True)
class LooseChildren:
    """The first children of some rows, as a release has them, and how many there are `of` these rows in all."""

    rows: pa.Table
    of: int


def first_children(jobs: LooseJobs, files: Files, plan: Plan, parents: pa.Table, most: int) -> LooseChildren:
    """At most `most` children of `parents`, the rows with provenance of the one job of `plan`; AcceptanceError as in a run.

    `jobs` are those of the child's plan, `files` its fitted model.
    """
    child = jobs.plan
    assert child.belonging is not None, "it is a child's plan"
    context, reference = child.belonging.context, child.belonging.reference
    with TemporaryDirectory(prefix="synthmill-") as name:
        data, slots = Path(name) / "data", Slots(Path(name) / "slots")
        data.mkdir()
        pq.write_table(parents, data / file_name(0, 1))
        write_slots(slots.folder, data, plan, child, jobs.real.parts.train, lambda rows: None)
        [asked] = read_slots(slots.folder)
        if not asked.rows:
            return LooseChildren(child.released.arrow.empty_table(), 0)
        [job] = with_slots(child, plan, [replace(asked, rows=min(most, asked.rows))]).jobs
        with (
            naming_child(child),
            jobs.made(job, files, lambda start, stop: slots.given(0, context, start, stop)) as made,
        ):
            rows = pa.concat_tables(made.read())
        keys = slots.given(0, (KEY,), 0, job.rows)[KEY]
        return LooseChildren(rows.append_column(reference, keys).select(child.released.names), asked.rows)
