"""What Hugging Face's `datasets` reads in a Parquet file beyond its types: that a column of bytes and paths holds images."""

from __future__ import annotations

import json

import pyarrow as pa

from synthmill.columns import IMAGE_TYPE

_KEY = "huggingface"
_NAMES = {pa.float64(): "float64", pa.date32(): "date32"}  # the others bear Arrow's names


def feature_metadata(schema: pa.Schema) -> dict[str, str]:
    """Schema metadata that names each column's feature; empty without images, since the types then say it all."""
    if IMAGE_TYPE not in schema.types:
        return {}
    return {_KEY: json.dumps({"info": {"features": {field.name: _feature(field.type) for field in schema}}})}


def _feature(kind: pa.DataType) -> dict[str, str]:
    if kind == IMAGE_TYPE:
        return {"_type": "Image"}
    return {"_type": "Value", "dtype": _NAMES.get(kind, str(kind))}
