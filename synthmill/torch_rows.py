"""The rows of a release as a torch dataset: shuffled anew each epoch, shared among workers and ranks, in flat memory.

A shuffle is two things: the order of the row groups, over all files, and the order within a buffer that is filled from them. Both follow
from (seed, epoch). Of the rows in group order each reader, one of `world x workers`, takes an equal stretch, so that each row is read
once an epoch and no two readers differ by more than one row.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import torch
from torch.utils.data import IterableDataset, get_worker_info

from synthmill.columns import IMAGE_TYPE
from synthmill.pixels import decode_image
from synthmill.seeds import derive

_REAL_GROUP_ROWS = 16_384  # the rows that are in memory are ordered in pieces like a file's
_PIECE_ROWS = 1_024  # made into Python values at a time


@dataclass(frozen=True, slots=True)
class Group:
    """A row group of a file, or where `path` is None a slice of the real rows from `index` on."""

    path: Path | None
    index: int
    rows: int


class TorchRows(IterableDataset[Any]):
    """One dict a row, or what `transform` makes of it. Numbers, booleans and text stay what they are, dates and times are ISO text, images
    are uint8 tensors (channels, height, width); a missing float is nan and any other missing cell None, which the default collate refuses.

    Call `set_epoch` before each epoch for another order; workers that persist hear of it. Rank and world are those of torch.distributed, or
    RANK and WORLD_SIZE where it is not set up.
    """

    def __init__(
        self,
        files: list[Path],
        schema: pa.Schema,
        real: pa.Table | None,
        shuffle: bool,
        seed: int,
        buffer_rows: int,
        transform: Callable[[dict[str, Any]], Any] | None,
    ) -> None:
        super().__init__()
        self._schema, self._real, self._transform = schema, real, transform
        self._shuffle, self._seed, self._buffer_rows = shuffle, seed, max(1, buffer_rows)
        self._groups = [group for path in files for group in _groups_of(path)]
        if real is not None:
            starts = range(0, real.num_rows, _REAL_GROUP_ROWS)
            self._groups += [Group(None, start, min(_REAL_GROUP_ROWS, real.num_rows - start)) for start in starts]
        self._rows = sum(group.rows for group in self._groups)
        self._epoch = torch.zeros((), dtype=torch.int64)
        self._epoch.share_memory_()  # type: ignore[no-untyped-call]  # so that workers that persist see it change
        self.rank, self.world = _place_in_world()

    def set_epoch(self, epoch: int) -> None:
        """Choose the order of the epochs that begin from now on, in this process and in its workers."""
        self._epoch.fill_(epoch)

    def __len__(self) -> int:
        """Rows of this rank."""
        start, stop = _share(self._rows, self.rank, self.world)
        return stop - start

    def __iter__(self) -> Iterator[Any]:
        info = get_worker_info()
        worker, workers = (0, 1) if info is None else (info.id, info.num_workers)
        reader = self.rank * workers + worker
        key = derive("torch rows", self._seed, int(self._epoch))
        start, stop = _share(self._rows, reader, self.world * workers)
        for number, buffer in enumerate(self._buffers(key, start, stop)):
            order = _permutation(key, f"{start}+{number}", buffer.num_rows) if self._shuffle else None
            shuffled = buffer if order is None else buffer.take(pa.array(order))
            for place in range(0, shuffled.num_rows, _PIECE_ROWS):
                for row in _as_values(shuffled.slice(place, _PIECE_ROWS)):
                    yield row if self._transform is None else self._transform(row)

    def _buffers(self, key: int, start: int, stop: int) -> Iterator[pa.Table]:
        """Rows `start` to `stop` in the order of the groups, `buffer_rows` at a time."""
        held: list[pa.Table] = []
        rows = 0
        for piece in self._pieces(key, start, stop):
            rest = piece
            while rows + rest.num_rows >= self._buffer_rows:
                taken = self._buffer_rows - rows
                yield pa.concat_tables([*held, rest.slice(0, taken)]).combine_chunks()
                held, rows, rest = [], 0, rest.slice(taken)
            held, rows = [*held, rest], rows + rest.num_rows
        if rows:
            yield pa.concat_tables(held).combine_chunks()

    def _pieces(self, key: int, start: int, stop: int) -> Iterator[pa.Table]:
        order = _permutation(key, "groups", len(self._groups)) if self._shuffle else range(len(self._groups))
        place = 0  # of the group's first row
        for group in (self._groups[int(index)] for index in order):
            first, last = max(start - place, 0), min(stop - place, group.rows)
            if first < last:
                yield self._read(group).slice(first, last - first)
            place += group.rows

    def _read(self, group: Group) -> pa.Table:
        if group.path is None:
            assert self._real is not None, "only real rows lie in memory"
            return self._real.slice(group.index, group.rows)
        with pq.ParquetFile(group.path) as file:
            there = [name for name in self._schema.names if name in file.schema_arrow.names]
            table = file.read_row_group(group.index, columns=there)
        made = pa.repeat(pa.scalar(True), table.num_rows)  # the one column that no file holds
        columns = [table[name] if name in there else made for name in self._schema.names]
        return pa.table(columns, schema=self._schema)


def _groups_of(path: Path) -> list[Group]:
    metadata = pq.read_metadata(path)
    return [Group(path, index, metadata.row_group(index).num_rows) for index in range(metadata.num_row_groups)]


def _share(rows: int, reader: int, readers: int) -> tuple[int, int]:
    """Where the stretch of one reader begins and ends."""
    return rows * reader // readers, rows * (reader + 1) // readers


def _permutation(key: int, part: str, size: int) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    order: np.ndarray[tuple[int], np.dtype[np.int64]] = np.random.Generator(
        np.random.Philox(key=derive(key, part))
    ).permutation(size)
    return order


def _as_values(table: pa.Table) -> Iterator[dict[str, Any]]:
    columns = [_column_values(table[name].combine_chunks()) for name in table.column_names]
    return (dict(zip(table.column_names, cells, strict=True)) for cells in zip(*columns, strict=True))


def _column_values(cells: pa.Array) -> list[Any]:
    kind = cells.type
    if kind == IMAGE_TYPE:
        return [None if cell is None else _pixels(cell["bytes"]) for cell in cells.to_pylist()]
    if pa.types.is_floating(kind):
        return list(pc.fill_null(cells, float("nan")).to_pylist())
    if pa.types.is_temporal(kind):
        return [None if cell is None else cell.isoformat() for cell in cells.to_pylist()]
    return list(cells.to_pylist())


def _pixels(data: bytes) -> torch.Tensor:
    pixels = np.array(decode_image(data))
    grey = pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)  # (channels, height, width)
    return torch.from_numpy(np.ascontiguousarray(grey))


def _place_in_world() -> tuple[int, int]:
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        return torch.distributed.get_rank(), torch.distributed.get_world_size()
    return int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
