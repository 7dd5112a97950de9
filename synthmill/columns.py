"""What a column is: its kind (how it is modelled and measured) and its dtype (how Arrow holds it).

The two are apart because they differ: postcodes are integers in Arrow and a category to a model.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Literal

import pyarrow as pa
from pydantic import BaseModel, ConfigDict, JsonValue, SerializerFunctionWrapHandler, model_serializer

Kind = Literal["number", "integer", "boolean", "category", "date", "datetime", "time", "id", "text", "image"]
Dtype = Literal["double", "int64", "bool", "string", "date32", "timestamp", "time64", "image"]
Modality = Literal["table", "image", "text"]
Value = bool | int | float | str  # a cell as a recipe writes it

IMAGE_TYPE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])  # Hugging Face's layout
_ARROW: dict[str, pa.DataType] = {
    "double": pa.float64(),
    "int64": pa.int64(),
    "bool": pa.bool_(),
    "string": pa.string(),
    "date32": pa.date32(),
    "timestamp": pa.timestamp("us"),
    "time64": pa.time64("us"),
    "image": IMAGE_TYPE,
}
PROVENANCE = ("_row_id", "_generator", "_stratum", "_candidate")  # added to every released row


class Domain(BaseModel):
    """What the cells of a column can be by the recipe's word, not by the rows': ends of a range or labels, as they are written there."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    bounds: tuple[Value, Value] | None = None
    values: tuple[Value, ...] | None = None
    decimals: int | None = None  # of doubles; None for no limit


class Column(BaseModel):
    """One column of a source or of a dataset. `timezone` belongs to the dtype `timestamp` alone.

    With a `domain` the recipe describes the column wholly, `nullable` included. It joined later, and is written only where there is one.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    kind: Kind
    dtype: Dtype
    nullable: bool = False
    timezone: str | None = None
    domain: Domain | None = None

    @model_serializer(mode="wrap")
    def _without_no_domain(self, write: SerializerFunctionWrapHandler) -> dict[str, JsonValue]:
        fields: dict[str, JsonValue] = write(self)
        if self.domain is None:
            del fields["domain"]
        return fields

    @property
    def arrow(self) -> pa.DataType:
        """The Arrow type of the column."""
        return pa.timestamp("us", tz=self.timezone) if self.timezone else _ARROW[self.dtype]

    @property
    def is_discrete(self) -> bool:
        """True where values are labels, not amounts, so that counting them makes sense."""
        return self.kind in ("category", "boolean")


class Schema(BaseModel):
    """The columns in order, and the target: the one that utility is measured on."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    columns: tuple[Column, ...]
    target: str | None = None

    def __iter__(self) -> Iterator[Column]:  # type: ignore[override]
        return iter(self.columns)

    def __len__(self) -> int:
        return len(self.columns)

    def __contains__(self, name: object) -> bool:
        return any(column.name == name for column in self.columns)

    def __getitem__(self, name: str) -> Column:
        for column in self.columns:
            if column.name == name:
                return column
        raise KeyError(name)

    @property
    def names(self) -> list[str]:
        """The column names in order."""
        return [column.name for column in self.columns]

    def without(self, names: Collection[str]) -> Schema:
        """The same schema with the columns of these names left out, the target among them or not."""
        columns = tuple(column for column in self.columns if column.name not in names)
        return Schema(columns=columns, target=None if self.target in names else self.target)

    @property
    def compared(self) -> list[str]:
        """The columns by which two rows are the same: all but ids, which are made anew and would hide every copy."""
        return [column.name for column in self.columns if column.kind != "id"] or self.names

    @property
    def arrow(self) -> pa.Schema:
        """The Arrow schema of the data columns, without provenance."""
        return pa.schema([pa.field(c.name, c.arrow, nullable=True) for c in self.columns])

    @property
    def modality(self) -> Modality:
        """Image or text where a column of that kind exists, else table."""
        kinds = {column.kind for column in self.columns}
        return "image" if "image" in kinds else "text" if "text" in kinds else "table"
