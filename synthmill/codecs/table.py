"""Mixed tables <-> codes and normal scores, the form that every neural table generator works on.

Every column that is not an id becomes one discrete code (label, atom, missing) and, where it holds numbers, one normal score.
A label or a missing value that train does not have is a SourceError: there is no code for it. A number that train does not have is
exact all the same, by the rest. Ids are not encoded; `decode` makes them anew.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

from synthmill.codecs.base import Codec
from synthmill.codecs.cells import Cells, Json, plain, refuse, storage
from synthmill.codecs.ids import IdColumn
from synthmill.codecs.numbers import NumberColumn
from synthmill.columns import Column, Schema
from synthmill.errors import SourceError

_LABELS = ("category", "boolean")
_NUMBERS = ("number", "integer", "date", "datetime", "time")


@dataclass(frozen=True, slots=True)
class EncodedTable:
    """Rows as tensors on the CPU, one column for each part of the codec. `rest` is None for rows that a generator made."""

    codes: torch.Tensor  # (rows, parts), int64, each below its part's size
    values: torch.Tensor  # (rows, parts), float64; the normal score of a number, 0 for labels and missing values
    rest: torch.Tensor | None = None  # (rows, parts), int64; see numbers.py

    def __len__(self) -> int:
        return len(self.codes)


@dataclass(frozen=True, slots=True)
class Part:
    """What a generator has to know of an encoded column."""

    name: str
    size: int
    free: int | None  # the code under which the value counts; under every other one `decode` ignores it
    scores: tuple[float, ...] = ()  # the normal score of each code: 0 for labels, missing and free
    missing: int | None = (
        None  # a number's code for missing cells, where there are such; a label's is a label like others
    )
    flats: tuple[
        tuple[float, float], ...
    ] = ()  # ascending: from where to where a score is one number that many rows share


@dataclass(frozen=True, slots=True)
class LabelColumn:
    """Categories and booleans of any dtype, codes in the order of their labels; missing comes last."""

    column: Column
    labels: pa.Array  # of the column's type, ascending, null last
    free: None = None
    missing: None = None
    flats: tuple[()] = ()

    @classmethod
    def fit(cls, column: Column, cells: pa.Array) -> Self:
        """Learn the labels, null among them where train has it."""
        found = pc.unique(cells).to_pylist()
        present = sorted(label for label in found if label is not None)
        return cls(column, pa.array([*present, *[None] * (None in found)], type=column.arrow))

    @property
    def size(self) -> int:
        """How many codes there are."""
        return len(self.labels)

    @property
    def scores_of_codes(self) -> tuple[float, ...]:
        """Labels have no order."""
        return (0.0,) * self.size

    def encode(self, cells: pa.Array) -> Cells:
        """A label without a code is a SourceError."""
        found = pc.index_in(cells, value_set=self.labels)
        if found.null_count:
            refuse(self.column, found.null_count, "labels or missing values that train does not have")
        encoded = Cells.empty(len(cells))
        encoded.codes[:] = found.to_numpy()
        return encoded

    def decode(self, cells: Cells) -> pa.Array:
        """Labels by code."""
        return self.labels.take(pa.array(cells.codes))

    def to_json(self) -> tuple[Json, dict[str, NDArray[np.generic]]]:
        """Labels as JSON, dates and times as integers."""
        return {"labels": storage(self.column, self.labels).to_pylist()}, {}

    @classmethod
    def from_json(cls, column: Column, scalars: Json, arrays: dict[str, NDArray[np.generic]]) -> Self:
        """What `to_json` gave."""
        stored = pa.array(scalars["labels"], type=storage(column, pa.array([], column.arrow)).type)
        return cls(column, (stored.cast(pa.int32()) if column.dtype == "date32" else stored).cast(column.arrow))


ColumnCodec = LabelColumn | NumberColumn | IdColumn
_CLASSES: dict[str, type[ColumnCodec]] = {c.__name__: c for c in (LabelColumn, NumberColumn, IdColumn)}


class TableCodec(Codec[EncodedTable]):
    """See the module. `parts` are the encoded columns, in the schema's order without the ids."""

    version = 2

    def __init__(self, schema: Schema, columns: tuple[ColumnCodec, ...]) -> None:
        self.schema = schema
        self._columns = columns
        self._encoded = tuple(c for c in columns if not isinstance(c, IdColumn))
        self.parts = tuple(
            Part(c.column.name, c.size, c.free, c.scores_of_codes, c.missing, c.flats) for c in self._encoded
        )

    @classmethod
    def fit(cls, table: pa.Table, schema: Schema) -> Self:
        """Learn every column from train rows; a table without rows, text and images are SourceErrors."""
        if not table.num_rows:
            raise SourceError("train has no rows", where="source", hint="give more rows, or a smaller holdout")
        return cls(schema, tuple(_fit_column(c, plain(c, table[i])) for i, c in enumerate(_aligned(table, schema))))

    def encode(self, table: pa.Table) -> EncodedTable:
        """All parts of all rows; columns that the schema does not have are ignored."""
        cells = [self.encode_column(c.column.name, table[c.column.name]) for c in self._encoded]

        def stack(arrays: list[NDArray[np.generic]], dtype: torch.dtype) -> torch.Tensor:
            shape = (table.num_rows, len(arrays))
            return torch.from_numpy(np.stack(arrays, 1)) if arrays else torch.zeros(shape, dtype=dtype)

        return EncodedTable(
            stack([c.codes for c in cells], torch.int64),
            stack([c.values for c in cells], torch.float64),
            stack([c.rest for c in cells], torch.int64),
        )

    def encode_column(self, name: str, cells: pa.Array | pa.ChunkedArray) -> Cells:
        """One column alone, such as a condition."""
        codec = next(c for c in self._encoded if c.column.name == name)
        return codec.encode(plain(codec.column, cells))

    def settle(self, codes: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
        """Values (rows, parts) on the grids of their columns: what train's rows have, and what is made only once it is decoded."""
        settled = torch.zeros(values.shape, dtype=torch.float64)
        for j, codec in enumerate(self._encoded):
            if isinstance(codec, NumberColumn) and codec.free is not None:
                cells = Cells(codes[:, j].numpy(), values[:, j].double().numpy(), np.zeros(len(codes), np.int64))
                settled[:, j] = torch.from_numpy(codec.settle(cells).values)
        return settled

    def decode(self, encoded: EncodedTable, *, key: int = 0, candidates: NDArray[np.int64] | None = None) -> pa.Table:
        """Rows of train's schema. Ids are made anew as a function of `key` and candidate number (by default the row's)."""
        numbers = np.arange(len(encoded)) if candidates is None else candidates
        codes, values = encoded.codes.cpu().numpy(), encoded.values.cpu().numpy().astype(np.float64)
        rest = np.zeros_like(codes) if encoded.rest is None else encoded.rest.cpu().numpy()
        parts = iter(range(len(self._encoded)))
        arrays = []
        for codec in self._columns:
            if isinstance(codec, IdColumn):
                arrays.append(codec.make(key, numbers))
            else:
                j = next(parts)
                arrays.append(codec.decode(Cells(codes[:, j], np.ascontiguousarray(values[:, j]), rest[:, j])))
        return pa.Table.from_arrays(arrays, schema=self.schema.arrow)

    def save(self, folder: Path) -> None:
        """`codec.json` and `codec.safetensors`; the same codec gives the same bytes."""
        columns: list[dict[str, object]] = []
        arrays: dict[str, NDArray[np.generic]] = {}
        for index, codec in enumerate(self._columns):
            scalars, own = codec.to_json()
            columns.append({"class": type(codec).__name__, "state": scalars, "arrays": sorted(own)})
            arrays |= {f"{index}.{name}": array for name, array in own.items()}
        text = json.dumps({"version": self.version, "schema": self.schema.model_dump(mode="json"), "columns": columns})
        (folder / "codec.json").write_text(text, encoding="utf-8")
        save_file(arrays, folder / "codec.safetensors")

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read what `save` wrote."""
        state = json.loads((folder / "codec.json").read_text(encoding="utf-8"))
        arrays = load_file(folder / "codec.safetensors")
        schema = Schema.model_validate(state["schema"])
        columns = tuple(
            _CLASSES[saved["class"]].from_json(
                column, saved["state"], {name: arrays[f"{index}.{name}"] for name in saved["arrays"]}
            )
            for index, (column, saved) in enumerate(zip(schema, state["columns"], strict=True))
        )
        return cls(schema, columns)


def _aligned(table: pa.Table, schema: Schema) -> Schema:
    if table.column_names != schema.names:
        raise SourceError("the table's columns are not those of its schema", where="source")
    return schema


def _fit_column(column: Column, cells: pa.Array) -> ColumnCodec:
    if column.kind == "id":
        return IdColumn.fit(column, cells)
    is_empty = cells.null_count == len(cells)  # all missing: one label, whatever the kind
    if column.kind in _LABELS or (is_empty and column.kind in _NUMBERS):
        return LabelColumn.fit(column, cells)
    if column.kind in _NUMBERS and column.dtype not in ("string", "bool", "image"):
        return NumberColumn.fit(column, cells)
    return refuse(column, len(cells), f"{column.kind} as {column.dtype}, which a table generator cannot make")
