"""Hashes of rows by value: the same for equal rows whatever their chunks, their encoding or the versions of libraries.

They find copies of train rows, duplicates and the sides of a split, and are stored in shards, so a change here is a change of format.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from synthmill.pixels import decode_image
from synthmill.seeds import derive, philox

Lanes = NDArray[np.uint64]  # (rows, 2): two independent hashes of 64 bits

_CHUNK_ROWS = 1 << 16
_LOW = np.uint64(0xFFFFFFFF)
_KEYS = np.array([0x9E3779B97F4A7C15, 0xD1B54A32D192ED03], dtype=np.uint64)  # two odd constants, one a lane
_MIX = ((30, np.uint64(0xBF58476D1CE4E5B9)), (27, np.uint64(0x94D049BB133111EB)))
_PLAIN_MODES = ("1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr", "LAB", "HSV")


def row_hashes(table: pa.Table, columns: Sequence[str]) -> Lanes:
    """A hash of 128 bits of each row's values in `columns`, whose order matters; shape (rows, 2).

    -0.0 is 0.0, NaN is null, null differs from every value, and an image is its decoded pixels.
    """
    batches = table.select(list(columns)).to_batches(max_chunksize=_CHUNK_ROWS)
    return np.concatenate([np.empty((0, 2), dtype=np.uint64), *map(_hash_chunk, batches)])


def content_hash(table: pa.Table) -> str:
    """32 hex digits of a table's column names, types and rows in their order; independent of chunking."""
    digest = hashlib.sha256("\n".join(f"{field.name!r}: {field.type}" for field in table.schema).encode())
    digest.update(table.num_rows.to_bytes(8, "little"))
    for batch in table.to_batches(max_chunksize=_CHUNK_ROWS):
        digest.update(_hash_chunk(batch).astype("<u8").tobytes())
    return digest.hexdigest()[:32]


def row_ids(stratum_fingerprint: str, candidates: NDArray[np.int64]) -> pa.Array:
    """The `_row_id` of each candidate of a stratum, 32 hex digits. Philox is a bijection, so they differ within a stratum."""
    index = np.asarray(candidates, dtype=np.uint64)
    zero = np.zeros(1, dtype=np.uint64)
    words = philox((index & _LOW, index >> np.uint64(32), zero, zero), derive(stratum_fingerprint, "row_id"))
    octets = np.stack(words, -1).astype(">u4").view(np.uint8)  # (rows, 16)
    digits = np.stack([octets >> 4, octets & 15], -1).reshape(len(index), 32)
    text = np.frombuffer(b"0123456789abcdef", dtype=np.uint8)[digits]
    offsets = np.arange(len(index) + 1, dtype=np.int32) * 32
    return pa.StringArray.from_buffers(len(index), pa.py_buffer(offsets), pa.py_buffer(text))


def mix(bits: Lanes) -> Lanes:
    """The finalizer of splitmix64 (Steele, Lea, Flood, OOPSLA 2014): a bijection of 64 bits."""
    for shift, factor in _MIX:
        bits = (bits ^ (bits >> np.uint64(shift))) * factor
    return bits ^ (bits >> np.uint64(31))


def _hash_chunk(batch: pa.RecordBatch) -> Lanes:
    hashes = np.broadcast_to(_KEYS, (batch.num_rows, 2))
    for values in batch.columns:
        hashes = mix(hashes * np.uint64(3) + _hash_values(values))
    return hashes


def _hash_values(values: pa.Array) -> Lanes:
    if pa.types.is_dictionary(values.type):
        values = values.dictionary_decode()
    if pa.types.is_struct(values.type):
        return _digests(_pixels(pc.struct_field(values, "bytes")))
    if pa.types.is_string(values.type) or pa.types.is_large_string(values.type) or pa.types.is_binary(values.type):
        distinct = values.dictionary_encode()
        codes: NDArray[np.int64] = pc.fill_null(distinct.indices, len(distinct.dictionary)).to_numpy(
            zero_copy_only=False
        )
        texts = (value.as_buffer() for value in distinct.dictionary)
        return _digests([*texts, None])[codes]
    bits, is_null = _bits(values)
    hashes = mix(bits[:, None] + _KEYS)
    # The first lane is a bijection, so a null, which shares it with the bits 0 alone, meets no value in both lanes.
    hashes[is_null] = _null()
    return hashes


def _bits(values: pa.Array) -> tuple[Lanes, NDArray[np.bool_]]:
    """The 64 bits that stand for each value, and where there is none."""
    is_null = values.is_null(nan_is_null=True).to_numpy(zero_copy_only=False)
    if pa.types.is_floating(values.type):
        numbers = pc.fill_null(values.cast(pa.float64()), 0.0).to_numpy(zero_copy_only=False) + 0.0
    else:
        if pa.types.is_temporal(values.type):
            values = values.view(pa.int32() if values.type.bit_width == 32 else pa.int64())
        numbers = pc.fill_null(values.cast(pa.int64()), 0).to_numpy(zero_copy_only=False)
    return numbers.view(np.uint64), is_null


def _null() -> NDArray[np.uint64]:
    first, second = mix(_KEYS)  # the hashes of the bits 0
    return np.array([first, ~second], dtype=np.uint64)


def _digests(values: Iterable[bytes | None]) -> Lanes:
    """BLAKE2b of 128 bits of each value, (values, 2); null has a digest of its own, keyed apart from all values."""
    null = hashlib.blake2b(digest_size=16, person=b"null").digest()
    joined = b"".join(null if v is None else hashlib.blake2b(v, digest_size=16).digest() for v in values)
    return np.frombuffer(joined, dtype="<u8").astype(np.uint64).reshape(-1, 2)


def _pixels(encoded: pa.Array) -> Iterable[bytes | None]:
    """Width, height and pixels; the modes of 8 bits and less as RGBA, so that equal pixels agree whatever the file's mode."""
    for number, cell in enumerate(encoded):
        if not cell.is_valid:
            yield None
            continue
        image = decode_image(cell.as_py(), where=f"image {number}")
        mode = "RGBA" if image.mode in _PLAIN_MODES else image.mode
        yield f"{mode} {image.width} {image.height} ".encode() + image.convert(mode).tobytes()
