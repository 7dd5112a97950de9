"""Do the keys of two released tables agree? Reads the key columns whole, and nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from synthmill.sources.children import count_column


def check_keys(folder: Path, child: str, key: str, reference: str) -> Iterator[str]:
    """What is wrong between data/ and CHILD/data/: keys that two rows have, rows that belong to none, counts that differ from the rows."""
    parents = _read(folder / "data", [key, count_column(child)])
    owners = _read(folder / child / "data", [reference])[reference]
    keys = parents[key].combine_chunks()
    if twice := len(keys) - len(pc.unique(keys)):
        yield f"data/: {twice:,} keys are not the only ones of their kind"
    found = pc.index_in(owners, value_set=keys)
    if found.null_count:
        yield f"{child}/data/: {found.null_count:,} of {len(owners):,} rows belong to no row of data/"
    counted = pc.value_counts(owners.combine_chunks())
    place = pc.index_in(keys, value_set=counted.field("values"))
    counts = pc.fill_null(counted.field("counts").take(place), 0)
    if differ := pc.sum(pc.not_equal(counts, parents[count_column(child)])).as_py():
        yield f"data/: {differ:,} of {len(keys):,} rows have other numbers of {child} than {count_column(child)} says"


def _read(folder: Path, columns: list[str]) -> pa.Table:
    return pa.concat_tables(pq.read_table(path, columns=columns) for path in sorted(folder.glob("*.parquet")))
