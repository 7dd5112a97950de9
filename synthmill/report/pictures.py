"""Synthetic images for the page, by label, within a budget of bytes."""

from __future__ import annotations

import base64
from io import BytesIO

import pyarrow as pa
from PIL import Image

from synthmill.columns import Schema
from synthmill.pixels import decode_image

_BUDGET_BYTES = 1_200_000  # of a page that stays under 3 MB with the chart library in it
_THUMBNAIL_PIXELS = 128


def pictures(samples: pa.Table, schema: Schema) -> list[tuple[str, list[str]]]:
    """Data URIs by the value of the first discrete column, in the order of the values.

    Pictures that would not fit as they are become small JPEGs; those beyond the budget even then are left out, from the last on.
    """
    [image] = [column.name for column in schema if column.kind == "image"]
    labels = [column.name for column in schema if column.is_discrete]
    encoded = [cell["bytes"] for cell in samples[image].to_pylist()]
    if sum(map(len, encoded)) > _BUDGET_BYTES:
        encoded = [_thumbnail(data) for data in encoded]
    shown: dict[str, list[str]] = {}
    spent = 0
    for row, data in zip(samples.select(labels[:1]).to_pylist() or [{}] * len(encoded), encoded, strict=True):
        spent += len(data)
        if spent <= _BUDGET_BYTES:
            label = " ".join(f"{name} {value}" for name, value in row.items())
            shown.setdefault(label, []).append(_data_uri(data))
    return sorted(shown.items())


def _thumbnail(data: bytes) -> bytes:
    image = decode_image(data).convert("RGB")
    image.thumbnail((_THUMBNAIL_PIXELS, _THUMBNAIL_PIXELS), Image.Resampling.LANCZOS)
    file = BytesIO()
    image.save(file, format="JPEG", quality=80)
    return file.getvalue()


def _data_uri(encoded: bytes) -> str:
    kind = "png" if encoded.startswith(b"\x89PNG") else "jpeg"
    return f"data:image/{kind};base64,{base64.b64encode(encoded).decode()}"
