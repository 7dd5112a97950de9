"""Given cells on their way through a table generator that works on codes: encoded before, and put back as they were after."""

from __future__ import annotations

from collections.abc import Collection

import pyarrow as pa
import pyarrow.compute as pc

from synthmill.codecs.cells import Cells
from synthmill.codecs.table import TableCodec
from synthmill.errors import RecipeError, SourceError
from synthmill.generator import SampleRequest


def encode_given(codec: TableCodec, request: SampleRequest, name: str) -> Cells:
    """The given cells of one part, of the masked rows alone; a label that train lacks is a RecipeError."""
    rows = request.mask[:, request.given.column_names.index(name)]
    try:
        return codec.encode_column(name, request.given[name].filter(pa.array(rows)))
    except SourceError as error:
        raise RecipeError(
            f"train has no row with the value that is asked of {name!r}",
            where="jobs",
            hint="ask for values that train holds",
        ) from error


def keep_given(made: pa.Table, request: SampleRequest, exact: Collection[str]) -> pa.Table:
    """`made` with the given cells of the `exact` columns in their places, as what was decoded is near them only."""
    for i, field in enumerate(request.given.schema):
        if field.name in exact:
            j = made.schema.get_field_index(field.name)
            given = request.given[field.name].cast(made.schema.field(j).type)
            cells = pc.if_else(pa.array(request.mask[:, i]), given, made[field.name])
            made = made.set_column(j, made.schema.field(j), cells)
    return made
