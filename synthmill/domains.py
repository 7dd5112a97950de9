"""The cells that the recipe says a column can have, under the column's own type."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

from synthmill.columns import Column
from synthmill.conditions import typed
from synthmill.errors import RecipeError


def limits(column: Column) -> pa.Array | None:
    """Lowest and highest cell under the column's type; None where the recipe gives no bounds. RecipeError where they are none."""
    if column.domain is None or column.domain.bounds is None:
        return None
    where = f"source.columns.{column.name}.bounds"
    ends = typed(column.domain.bounds, column, where=where)
    if not pc.less(ends[0], ends[1]).as_py():
        raise RecipeError("the lowest value is not below the highest", where=where, hint="give [lowest, highest]")
    return ends


def labels(column: Column) -> pa.Array | None:
    """The labels under the column's type, each once and ascending; None where the recipe gives no values."""
    if column.domain is None or column.domain.values is None:
        return None
    found = pc.unique(typed(column.domain.values, column, where=f"source.columns.{column.name}.values"))
    return found.take(pc.array_sort_indices(found))
