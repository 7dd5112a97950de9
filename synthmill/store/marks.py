"""What a Parquet file says of itself, whoever it is handed to: its dataset, and that its rows and each of its columns are synthetic.

    schema metadata   synthmill     {"dataset": "fair", "format": 2, "synthetic": true}
                      huggingface   features, where the types alone do not tell images
    field metadata    synthetic     true

Readers that know nothing of it read the same columns. Format 1 had the one word `synthetic` under `synthmill`, and nothing a column.
"""

from __future__ import annotations

import json
from typing import Literal

import pyarrow as pa

from synthmill.store.huggingface import feature_metadata

FORMAT: Literal[2] = 2  # of a release: its files, their marks, manifest.json and croissant.json together
KEY = "synthmill"


def mark(schema: pa.Schema, dataset: str | None = None, *, is_synthetic: bool = True) -> pa.Schema:
    """The same columns with the marks; `dataset` is left out for rows that belong to none, such as those of `synthmill sample`."""
    named = {"dataset": dataset} if dataset is not None else {}
    words = json.dumps({**named, "format": FORMAT, "synthetic": is_synthetic})
    fields = [field.with_metadata({"synthetic": json.dumps(is_synthetic)}) for field in schema]
    return pa.schema(fields, metadata={KEY: words, **feature_metadata(schema)})


def is_synthetic(schema: pa.Schema) -> bool:
    """Whether a file's own marks, of any format, say so; False where it has none."""
    words = (schema.metadata or {}).get(KEY.encode(), b"")
    return words == b"synthetic" or (words.startswith(b"{") and bool(json.loads(words).get("synthetic")))
