"""The cells that a request gives, for generators that can keep any of them."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from torch import Tensor

from synthmill.codecs.cells import Cells
from synthmill.codecs.table import TableCodec
from synthmill.errors import RecipeError, SourceError
from synthmill.generator import SampleRequest


def encode_given(codec: TableCodec, request: SampleRequest) -> tuple[Tensor, Tensor, Tensor]:
    """Codes, values and which of them are given, (rows, parts) each; zeros elsewhere. A value without a code is a RecipeError."""
    names = [part.name for part in codec.parts]
    shape = (len(request.candidates), len(names))
    codes, values, seen = np.zeros(shape, np.int64), np.zeros(shape, np.float32), np.zeros(shape, np.bool_)
    for i, name in enumerate(request.given.column_names):
        rows = request.mask[:, i]
        if name in names and rows.any():
            j, cells = names.index(name), _encode(codec, name, request.given[name].filter(pa.array(rows)))
            codes[rows, j], values[rows, j], seen[rows, j] = cells.codes, cells.values, True
    return torch.from_numpy(codes), torch.from_numpy(values), torch.from_numpy(seen)


def _encode(codec: TableCodec, name: str, cells: pa.ChunkedArray) -> Cells:
    try:
        return codec.encode_column(name, cells)
    except SourceError as error:
        raise RecipeError(
            f"train has no row with the value that is asked of {name!r}",
            where="jobs",
            hint="ask for values that train holds",
        ) from error


def keep_given(made: pa.Table, request: SampleRequest, exact: Collection[str]) -> pa.Table:
    """`made` with the given cells of the `exact` columns put back as they were given, to the bit."""
    for i, field in enumerate(request.given.schema):
        if field.name in exact:
            j = made.schema.get_field_index(field.name)
            given = request.given[field.name].cast(made.schema.field(j).type)
            cells = pc.if_else(pa.array(request.mask[:, i]), given, made[field.name])
            made = made.set_column(j, made.schema.field(j), cells)
    return made
