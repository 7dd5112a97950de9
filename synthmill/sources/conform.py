"""Rows of another file under the schema of a source: each column converted where no value changes, what does not fit counted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pyarrow as pa
import pyarrow.compute as pc

from synthmill.columns import IMAGE_TYPE, Schema
from synthmill.dtypes import count_unparsed, parse
from synthmill.errors import SourceError

Misfits = Mapping[str, int]  # column -> rows whose value is none of its type


def conform(table: pa.Table, schema: Schema, where: str) -> pa.Table:
    """The rows under the schema; columns beyond it are left out. SourceError where a column is missing or a value does not fit."""
    require_columns(table.column_names, schema, where)
    fitted, misfits = fit(table, schema)
    refuse_misfits(misfits, table.num_rows, schema, where)
    return fitted


def require_columns(names: Sequence[str], schema: Schema, where: str) -> None:
    """SourceError where a column of the schema is not among the names."""
    missing = [name for name in schema.names if name not in names]
    if missing:
        others = f" (nor {', '.join(missing[1:6])})" if len(missing) > 1 else ""
        hint = "it needs the columns of the source"
        raise SourceError(f"it has no column {missing[0]}{others}", where=where, hint=hint)


def refuse_misfits(misfits: Misfits, rows: int, schema: Schema, where: str) -> None:
    """SourceError that names each column with values of another type, and how many."""
    if misfits:
        words = [
            f"column {name} does not hold {schema[name].dtype} as in the source in {count:,} of {rows:,} rows"
            for name, count in misfits.items()
        ]
        raise SourceError("; ".join(words), where=where, hint="both files must write a column alike")


def fit(table: pa.Table, schema: Schema) -> tuple[pa.Table, dict[str, int]]:
    """The columns of the schema, converted; a column with misfits is all missing here, and they are counted."""
    columns, misfits = [], {}
    for column in schema:
        values = table[column.name]
        converted = convert(values, column.arrow)
        if converted is None:
            misfits[column.name] = _count_misfits(values, column.arrow)
            converted = pa.chunked_array([pa.nulls(len(values), column.arrow)])
        columns.append(converted)
    return pa.table(columns, schema=schema.arrow), misfits


def convert(values: pa.ChunkedArray, wanted: pa.DataType) -> pa.ChunkedArray | None:
    """The values as another type, or None where one of them does not read as that."""
    if values.type == wanted:
        return values
    if pa.types.is_string(values.type):
        return parse(values, wanted) if wanted != IMAGE_TYPE else None
    if pa.types.is_integer(values.type) and pa.types.is_string(wanted):
        return values.cast(wanted)  # text that would not come back the same was never read as integers
    return _without_change(values, wanted)


def _without_change(values: pa.ChunkedArray, wanted: pa.DataType) -> pa.ChunkedArray | None:
    """Numbers and times as another type where no value changes, else None."""
    if _is_hopeless(values.type, wanted):
        return None
    try:
        converted = values.cast(wanted)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        return None
    same = pc.all(pc.equal(converted.cast(values.type), values)).as_py()
    return converted if same in (True, None) else None


def _is_hopeless(given: pa.DataType, wanted: pa.DataType) -> bool:
    """No value of the one type is one of the other."""
    is_text = pa.types.is_string(wanted) or wanted == IMAGE_TYPE
    is_amount = pa.types.is_temporal(given) != pa.types.is_temporal(wanted)
    return bool(is_text or is_amount or given == IMAGE_TYPE)


def _count_misfits(values: pa.ChunkedArray, wanted: pa.DataType) -> int:
    present = int(pc.count(values).as_py())
    if pa.types.is_string(values.type):
        return count_unparsed(values, wanted) if wanted != IMAGE_TYPE else present
    if _is_hopeless(values.type, wanted):
        return present
    try:
        changed = pc.not_equal(values.cast(wanted, safe=False).cast(values.type, safe=False), values)
    except pa.ArrowNotImplementedError:
        return present
    return int(pc.sum(changed).as_py() or 0) or present
