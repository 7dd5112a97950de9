"""Assemble: accepted rows of all jobs, in recipe order, into Parquet files whose bytes do not depend on how the shards were cut.

Row r of a job belongs to stratum r mod k, so strata are interleaved; each job starts a new file. Memory holds one row group,
whatever the number of rows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from synthmill.errors import StorageError
from synthmill.plan import JobPlan, Plan, StratumPlan
from synthmill.rows import row_ids
from synthmill.spec import Accept
from synthmill.store.files import storage_errors
from synthmill.store.marks import mark
from synthmill.store.staging import CANDIDATE, Judge, Level, Tally, read_receipts
from synthmill.store.state import State

ROW_GROUP_ROWS = 16_384  # enough to compress well, few enough that readers can stream
_COMPRESSION, _COMPRESSION_LEVEL = "zstd", 3


@dataclass(frozen=True, slots=True)
class StratumCount:
    """What became of one stratum's candidates up to the last row that was needed."""

    label: str
    rows: int
    candidates: int
    copies_of_train: int
    rejects: dict[str, int]
    level: Level


Progress = Callable[[int], None]  # rows written so far


def write_jobs(plan: Plan, state: State, folder: Path, progress: Progress) -> tuple[tuple[StratumCount, ...], ...]:
    """Write `folder`/synthetic-XXXXX-of-XXXXX.parquet; the counts of each job's strata, in plan order."""
    folder.mkdir(parents=True)
    sizes = file_sizes(plan)
    readers = {job.index: JobRows(job, plan.recipe.accept, state) for job in plan.jobs}
    written = 0
    for number, (job, size) in enumerate(sizes):
        path = folder / file_name(number, len(sizes))
        with storage_errors(path):
            for rows in _write_file(path, readers[job.index], size, plan.recipe.dataset):
                written += rows
                progress(written)
    return tuple(readers[job.index].counts() for job in plan.jobs)


def file_sizes(plan: Plan) -> list[tuple[JobPlan, int]]:
    """The job and the number of rows of each file, in order."""
    largest = plan.recipe.release.rows_per_file
    return [(job, min(largest, job.rows - start)) for job in plan.jobs for start in range(0, job.rows, largest)]


def file_name(number: int, files: int) -> str:
    """The name of a file of synthetic rows, as Hugging Face has it."""
    return f"synthetic-{number:05d}-of-{files:05d}.parquet"


def writer(path: Path, schema: pa.Schema, dataset: str) -> pq.ParquetWriter:
    """One of a dataset's files, which says that it is synthetic."""
    return pq.ParquetWriter(path, mark(schema, dataset), compression=_COMPRESSION, compression_level=_COMPRESSION_LEVEL)


def job_rows(job: JobPlan, accept: Accept, state: State) -> Iterator[pa.Table]:
    """A job's accepted rows with provenance, in the order of the dataset, a row group at a time."""
    rows = JobRows(job, accept, state)
    for start in range(0, job.rows, ROW_GROUP_ROWS):
        yield rows.take(min(ROW_GROUP_ROWS, job.rows - start))


def _write_file(path: Path, rows: JobRows, size: int, dataset: str) -> Iterator[int]:
    """Write one file; yields the rows of each row group once it is written."""
    with writer(path, rows.schema, dataset) as file:
        for start in range(0, size, ROW_GROUP_ROWS):
            group = rows.take(min(ROW_GROUP_ROWS, size - start))
            file.write_table(group, row_group_size=ROW_GROUP_ROWS)
            yield group.num_rows


class _Stream:
    """The accepted rows of one stratum, in candidate order."""

    def __init__(self, stratum: StratumPlan, job: JobPlan, accept: Accept, state: State) -> None:
        self.stratum, self._job = stratum, job
        folder = state.staging(stratum.staging)
        self._receipts = read_receipts(folder) if stratum.rows else []
        self._judge = Judge(folder, rows=stratum.rows, limit=np.iinfo(np.int64).max, unique=accept.unique)
        self._level: Level = "bitwise"
        self._pieces = self._read()
        self._rest = job.schema_.arrow.append(pa.field(CANDIDATE, pa.int64())).empty_table()

    def _read(self) -> Iterator[pa.Table]:
        columns = self._job.schema_.names
        for receipt in self._receipts:
            if self._judge.is_complete or receipt.start > self._judge.position:
                break
            if receipt.stop > self._judge.position:
                self._level = "bitwise" if receipt.level == self._level == "bitwise" else "statistical"
                yield from self._judge.judge(receipt, columns)
        self._judge.close()

    def take(self, rows: int) -> pa.Table:
        """The next `rows` accepted rows with provenance."""
        pieces, held = [self._rest], self._rest.num_rows
        while held < rows:
            piece = next(self._pieces, None)
            if piece is None:
                hint = "run again: what is missing is made anew"
                raise StorageError(
                    f"staged rows of {self.stratum.label} are gone", where=str(self._judge.folder), hint=hint
                )
            pieces.append(piece.select(self._rest.column_names))
            held += piece.num_rows
        table = pa.concat_tables(pieces)
        self._rest = table.slice(rows)
        return self._with_provenance(table.slice(0, rows))

    def _with_provenance(self, table: pa.Table) -> pa.Table:
        ids = row_ids(self.stratum.fingerprint, table[CANDIDATE].to_numpy())
        named = table.drop_columns([CANDIDATE]).append_column("_row_id", ids)
        for name, value in (("_generator", self._job.generator), ("_stratum", self.stratum.label)):
            named = named.append_column(name, pa.repeat(pa.scalar(value), table.num_rows))
        return named.append_column("_candidate", table[CANDIDATE])

    def count(self) -> StratumCount:
        """Exact counts, once all rows were taken."""
        tally: Tally = self._judge.tally
        return StratumCount(
            label=self.stratum.label,
            rows=tally.accepted,
            candidates=tally.candidates,
            copies_of_train=tally.copies,
            rejects=dict(sorted(tally.rejects.items())),
            level=self._level,
        )


class JobRows:
    """Rows of a job in order: row r is the (r div k)-th row of stratum r mod k."""

    def __init__(self, job: JobPlan, accept: Accept, state: State) -> None:
        self._streams, self._next = [_Stream(stratum, job, accept, state) for stratum in job.strata], 0
        strings = [pa.field(name, pa.string()) for name in ("_row_id", "_generator", "_stratum")]
        self.schema = pa.schema([*job.schema_.arrow, *strings, pa.field("_candidate", pa.int64())])

    def counts(self) -> tuple[StratumCount, ...]:
        """Exact counts of every stratum, once all rows were taken."""
        return tuple(stream.count() for stream in self._streams)

    def take(self, rows: int) -> pa.Table:
        """The next `rows` rows."""
        owner = np.arange(self._next, self._next + rows) % len(self._streams)
        self._next += rows
        shares = np.bincount(owner, minlength=len(self._streams))
        table = pa.concat_tables([stream.take(int(n)) for stream, n in zip(self._streams, shares, strict=True)])
        place = np.empty(rows, dtype=np.int64)  # strata lie one after the other in `table`
        place[np.argsort(owner, kind="stable")] = np.arange(rows)
        return table.take(pa.array(place)).combine_chunks().cast(self.schema)
