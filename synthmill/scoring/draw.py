"""Reading rows back from an assembled candidate, whatever its size: one row group in memory at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from synthmill.columns import Schema
from synthmill.errors import StorageError
from synthmill.scoring.references import StratumShare

_BATCH_ROWS = 1 << 16
_ANEW = "run again: it is assembled anew from the finished shards"

Numbers = NDArray[np.int64]  # row numbers, counted over the candidate's files in name order


def draw_rows(
    folder: Path, strata: Sequence[StratumShare], quotas: Sequence[int], *, schema: Schema, rng: np.random.Generator
) -> pa.Table:
    """`quotas[s]` rows of stratum s without replacement, one stratum after the other, without provenance.

    `strata` are all strata of the candidate, in recipe order. Raises StorageError where the files do not hold their rows.
    """
    wanted = [np.sort(rng.choice(s.rows, quota, replace=False)) for s, quota in zip(strata, quotas, strict=True)]
    numbers = np.concatenate(_locate(folder, strata, wanted))
    order = np.argsort(numbers, kind="stable")
    found = pa.concat_tables([schema.arrow.empty_table(), *_read(folder, numbers[order], schema)])
    return found.take(np.argsort(order, kind="stable"))


def _locate(folder: Path, strata: Sequence[StratumShare], wanted: Sequence[Numbers]) -> list[Numbers]:
    """Row numbers of the wanted rows of each stratum; `wanted[s]` counts within stratum s. Jobs lie in recipe order."""
    if len(strata) == 1:  # each row is its own, whatever it is labelled
        _check_rows(strata[0], sum(_count(file) for file in _files(folder)), folder)
        return [*wanted]
    jobs = sorted({s.job for s in strata})
    last = np.cumsum([sum(s.rows for s in strata if s.job == job) for job in jobs])  # row number after each job
    seen = [0] * len(strata)
    located: list[list[Numbers]] = [[np.empty(0, dtype=np.int64)] for _ in strata]
    start = 0
    for labels in _labels(folder):
        job_of = np.searchsorted(last, start + np.arange(len(labels)), side="right")
        for index, stratum in enumerate(strata):
            is_own = pc.equal(labels, stratum.label).to_numpy(zero_copy_only=False)
            own = np.flatnonzero(is_own & (job_of == jobs.index(stratum.job)))
            low, high = np.searchsorted(wanted[index], (seen[index], seen[index] + len(own)))
            located[index].append(start + own[wanted[index][low:high] - seen[index]])
            seen[index] += len(own)
        start += len(labels)
    for stratum, count in zip(strata, seen, strict=True):
        _check_rows(stratum, count, folder)
    return [np.concatenate(pieces) for pieces in located]


def _check_rows(stratum: StratumShare, count: int, folder: Path) -> None:
    if count != stratum.rows:
        what = f"the candidate holds {count} rows of stratum {stratum.label} of job {stratum.job}, not {stratum.rows}"
        raise StorageError(what, where=folder.name, hint=_ANEW)


def _count(file: Path) -> int:
    with _reading(file):
        return int(pq.read_metadata(file).num_rows)


def _labels(folder: Path) -> Iterator[pa.Array]:
    """The `_stratum` column in batches, with missing labels as empty text."""
    for file in _files(folder):
        with _reading(file):
            for batch in pq.ParquetFile(file).iter_batches(_BATCH_ROWS, columns=["_stratum"]):
                yield pc.fill_null(batch.column(0).cast(pa.string()), "")


def _read(folder: Path, numbers: Numbers, schema: Schema) -> Iterator[pa.Table]:
    """The rows with these sorted numbers, in that order."""
    start = 0
    for file in _files(folder):
        with _reading(file):
            parquet = pq.ParquetFile(file)
            for group in range(parquet.num_row_groups):
                end = start + parquet.metadata.row_group(group).num_rows
                here = numbers[np.searchsorted(numbers, start) : np.searchsorted(numbers, end)] - start
                if len(here):
                    rows = parquet.read_row_group(group, columns=schema.names).take(here)
                    yield rows.select(schema.names).cast(schema.arrow)
                start = end


@contextmanager
def _reading(file: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, pa.ArrowInvalid) as error:
        raise StorageError("a file of the candidate cannot be read", where=file.name, hint=_ANEW) from error


def _files(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.parquet"))
