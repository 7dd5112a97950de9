"""What the generators of mixed tables share: which tables they take, and what they keep as it was given."""

from __future__ import annotations

from synthmill import generator as contract
from synthmill.codecs.table import TableCodec
from synthmill.columns import Schema
from synthmill.errors import RecipeError
from synthmill.generator import Generator


class TableGenerator(Generator):
    """Mixed tables through TableCodec: any columns can be given exactly, ids are made anew."""

    modality = "table"
    codec = TableCodec
    micro_batch = 1024

    _codec: TableCodec

    @classmethod
    def key(cls) -> str:
        """`table/NAME`, by the file's name."""
        return f"table/{cls.__module__.rpartition('.')[2]}"

    @classmethod
    def schema(cls, source: Schema, params: contract.Params) -> Schema:
        """Any table with a column that is no id; text and images are refused."""
        if all(column.kind == "id" for column in source):
            raise RecipeError(f"{cls.key()} has nothing to learn: all columns are ids", where="source.columns")
        for column in source:
            if column.kind in ("text", "image"):
                raise RecipeError(
                    f"{cls.key()} cannot make the column {column.name!r} of kind {column.kind}",
                    where=f"source.columns.{column.name}",
                    hint="override its kind, or leave the column out of the source",
                )
        return source

    @classmethod
    def exact_conditions(cls, source: Schema, params: contract.Params) -> frozenset[str]:
        """Every column but ids."""
        return frozenset(column.name for column in source if column.kind != "id")
