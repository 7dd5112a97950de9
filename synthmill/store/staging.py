"""Staged shards and their receipts, and the frontier that decides which candidates become rows.

A staged shard is a Parquet file with one row per candidate of its range, named by its content hash. Rejected candidates
keep their number and reason and lose their cells, so that rejects up to any index can be counted and cost next to nothing. A receipt
`START-STOP.json` beside it proves it; a file without one does not count.
"""

from __future__ import annotations

import hashlib
import io
import json
import sqlite3
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from synthmill.errors import StorageError
from synthmill.fingerprint import hash_file
from synthmill.store.files import publish_bytes, publish_json, remove_leftovers

Level = Literal["bitwise", "statistical"]  # what a repeat of the same plan gives: equal bytes, or rows alike

CANDIDATE, REJECT, COPY, HASH = "_candidate", "_reject", "_copy", "_hash"
STAGING_FIELDS = [
    pa.field(CANDIDATE, pa.int64()),
    pa.field(REJECT, pa.string()),  # null where accepted
    pa.field(COPY, pa.bool_()),  # equal to a train row
    pa.field(HASH, pa.binary(16)),  # of the row's values
]
FAILED, DUPLICATE = "failed", "duplicate"
_READ_ROWS = 8_192


@dataclass(frozen=True, slots=True)
class Receipt:
    """Proof of a finished shard [start, stop). A quarantined shard has no file: all its candidates failed."""

    start: int
    stop: int
    file: str  # content hash; "" where quarantined
    rows: int  # accepted by what depends on one row alone
    rejects: dict[str, int]
    model: str
    level: Level = "bitwise"
    attempts: int = 1
    seconds: float = 0.0
    usage: dict[str, float] = field(default_factory=dict)


def shard_bytes(table: pa.Table) -> bytes:
    """A staged shard as Parquet; the same rows give the same bytes."""
    sink = io.BytesIO()
    pq.write_table(table.combine_chunks(), sink, compression="zstd", compression_level=1, row_group_size=_READ_ROWS)
    return sink.getvalue()


def write_shard(folder: Path, data: bytes) -> str:
    """Store a shard durably and return the content hash that names it."""
    name = hashlib.sha256(data).hexdigest()
    if not (path := folder / f"{name}.parquet").exists():
        publish_bytes(path, data)
    return name


def write_receipt(folder: Path, receipt: Receipt) -> None:
    """From here on the shard counts."""
    publish_json(_receipt_path(folder, receipt), asdict(receipt))


def read_receipts(folder: Path) -> list[Receipt]:
    """Receipts whose shard is there and whole, by start. Broken ones are deleted with their shard: it is made again."""
    receipts = []
    for path in folder.glob("*-*.json"):
        try:
            receipt = Receipt(**json.loads(path.read_text()))
        except (ValueError, TypeError):
            path.unlink()
            continue
        shard = folder / f"{receipt.file}.parquet"
        if not receipt.file or (shard.exists() and hash_file(shard) == receipt.file):
            receipts.append(receipt)
        else:
            path.unlink()
            shard.unlink(missing_ok=True)  # else its name would keep the whole one out
    return sorted(receipts, key=lambda r: (r.start, -r.stop))


def claimed_receipts(folder: Path) -> list[Receipt]:
    """Receipts of shards that were made, as they stand: whether the shards are whole is not looked at."""
    found = []
    for path in folder.glob("*-*.json"):
        with suppress(ValueError, TypeError, FileNotFoundError):
            found.append(Receipt(**json.loads(path.read_text())))
    return [receipt for receipt in found if receipt.file]


def resume_receipts(folder: Path) -> list[Receipt]:
    """What a new run goes on from. Which shards were quarantined is forgotten, so that they are tried again."""
    remove_leftovers(folder)
    receipts = read_receipts(folder)
    for receipt in receipts:
        if not receipt.file:
            _receipt_path(folder, receipt).unlink()
    return [receipt for receipt in receipts if receipt.file]


def _receipt_path(folder: Path, receipt: Receipt) -> Path:
    return folder / f"{receipt.start}-{receipt.stop}.json"


@dataclass(slots=True)
class Tally:
    """What was judged so far, exact at every index: equal for any sizes of shards."""

    candidates: int = 0
    accepted: int = 0
    copies: int = 0  # among the accepted
    rejects: Counter[str] = field(default_factory=Counter)

    def add(self, reject: pa.ChunkedArray, copy: NDArray[np.bool_], keep: NDArray[np.bool_]) -> None:
        """Count judged candidates: `reject` gives the reason or null, `keep` says which rows stay."""
        self.candidates += len(keep)
        self.accepted += int(keep.sum())
        self.copies += int((copy & keep).sum())
        for entry in pc.value_counts(reject).to_pylist():
            if entry["values"] is not None:
                self.rejects[entry["values"]] += entry["counts"]
        duplicates = len(keep) - int(keep.sum()) - (len(reject) - reject.null_count)
        if duplicates:
            self.rejects[DUPLICATE] += duplicates


class Seen:
    """The row hashes accepted so far, on disk, so that `unique` costs the same memory at any size."""

    def __init__(self) -> None:
        self._database = sqlite3.connect("")  # an unnamed database: private, on disk, gone when closed
        self._database.execute("PRAGMA cache_size = -16000")
        self._database.execute("CREATE TABLE seen (hash BLOB PRIMARY KEY) WITHOUT ROWID")

    def first_times(self, hashes: list[bytes]) -> NDArray[np.bool_]:
        """True for each hash that was not there before; in order, so that the lowest index wins."""
        insert = "INSERT OR IGNORE INTO seen VALUES (?)"
        new = (self._database.execute(insert, (value,)).rowcount == 1 for value in hashes)
        return np.fromiter(new, dtype=np.bool_, count=len(hashes))

    def close(self) -> None:
        """Delete the database."""
        self._database.close()


class Judge:
    """Walks one stratum's candidates in order and decides which become rows: the first `rows` accepted below `limit`."""

    def __init__(self, folder: Path, *, rows: int, limit: int, unique: bool) -> None:
        self.folder, self.rows, self.limit = folder, rows, limit
        self.position = 0  # the first candidate that is not judged yet
        self.tally = Tally()
        self._seen = Seen() if unique else None

    @property
    def is_complete(self) -> bool:
        """All rows asked for are accepted."""
        return self.tally.accepted >= self.rows

    @property
    def is_exhausted(self) -> bool:
        """The budget of candidates is spent without enough rows."""
        return not self.is_complete and self.position >= self.limit

    def judge(self, receipt: Receipt, columns: list[str] | None = None) -> Iterator[pa.Table]:
        """Judge what of a shard lies at the frontier; yields the accepted rows with `columns` (none: counts only)."""
        if self.is_complete:
            return  # an engine ran ahead; what lies there may have holes
        assert receipt.start <= self.position, "the frontier is contiguous"
        if not receipt.file:
            lost = max(0, min(receipt.stop, self.limit) - self.position)
            self.tally.candidates += lost
            self.tally.rejects[FAILED] += lost
            self.position += lost
            return
        needed = [CANDIDATE, REJECT, COPY, *([HASH] if self._seen else []), *(columns or [])]
        path = self.folder / f"{receipt.file}.parquet"
        try:
            file = pq.ParquetFile(path)
        except (OSError, pa.ArrowInvalid) as error:
            raise StorageError(
                "a staged shard is gone or broken", where=str(path), hint="run again: it is made anew"
            ) from error
        with file:
            for batch in file.iter_batches(_READ_ROWS, columns=needed):
                if self.is_complete or self.position >= self.limit:
                    return
                kept = self._judge_batch(pa.Table.from_batches([batch]))
                if columns is not None and kept.num_rows:
                    yield kept.select([CANDIDATE, *columns])

    def _judge_batch(self, batch: pa.Table) -> pa.Table:
        candidates = batch[CANDIDATE].to_numpy()
        batch = batch.filter(pa.array((candidates >= self.position) & (candidates < self.limit)))
        keep = batch[REJECT].is_null().to_numpy(zero_copy_only=False).copy()
        if self._seen:
            keep[keep] = self._seen.first_times(batch[HASH].filter(pa.array(keep)).to_pylist())
        enough = np.flatnonzero(np.cumsum(keep) == self.rows - self.tally.accepted)
        if len(enough):  # judge up to the last row that is needed, and not one candidate more
            batch, keep = batch.slice(0, int(enough[0]) + 1), keep[: int(enough[0]) + 1]
        self.tally.add(batch[REJECT], batch[COPY].to_numpy(zero_copy_only=False).astype(np.bool_), keep)
        self.position += batch.num_rows
        return batch.filter(pa.array(keep))

    def close(self) -> None:
        """Free what `unique` holds on disk."""
        if self._seen:
            self._seen.close()
