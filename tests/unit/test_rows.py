import io
import math
from datetime import UTC, date, datetime, time

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from synthmill.columns import IMAGE_TYPE
from synthmill.errors import SourceError
from synthmill.pixels import MAX_PIXELS, decode_image, encode_png
from synthmill.rows import content_hash, mix, row_hashes, row_ids

CELLS = {
    pa.float64(): st.floats(),
    pa.int64(): st.integers(-(2**63), 2**63 - 1),
    pa.bool_(): st.booleans(),
    pa.string(): st.text(max_size=5),
    pa.date32(): st.dates(),
    pa.timestamp("us"): st.datetimes(),
    pa.timestamp("us", "UTC"): st.datetimes(timezones=st.just(UTC)),
    pa.time64("us"): st.times(),
}
TYPES = sorted(CELLS, key=str)
# Shards and manifests store hashes: a change here needs a new format number.
HASHES = ["f547d322e41eb9e2c694fcb08df23081", "89f927772c8ceccb9dc4c5f36808b1d3"]
CONTENT = "9786d7dc09fb87b3c85a000b5d0ecc90"
IDS = ["e661664552cfa0338c3c3415dfc685f7", "3ad40bdb1f078a094b69df85e1a0ad72"]


def as_set(table: pa.Table) -> set[tuple[int, int]]:
    return {(int(a), int(b)) for a, b in row_hashes(table, table.column_names)}


def images(*encoded: bytes | None) -> pa.Array:
    return pa.array([None if data is None else {"bytes": data, "path": "p"} for data in encoded], IMAGE_TYPE)


def encode(pixels: np.ndarray, kind: str, **options: int) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, format=kind, **options)
    return file.getvalue()


@st.composite
def tables(draw):
    kinds = draw(st.lists(st.sampled_from(TYPES), min_size=1, max_size=4))
    rows = draw(st.integers(0, 12))
    cells = [draw(st.lists(st.one_of(st.none(), CELLS[kind]), min_size=rows, max_size=rows)) for kind in kinds]
    return pa.table(
        [pa.array(c, k) for c, k in zip(cells, kinds, strict=True)], names=[f"c{i}" for i in range(len(kinds))]
    )


@given(tables(), st.data())
def test_chunks_slices_and_dictionaries_do_not_change_a_hash(table, data):
    cut = data.draw(st.integers(0, table.num_rows))
    pieces = pa.concat_tables([table.slice(0, cut), table.slice(cut)])
    coded = pa.table(
        {
            n: c.dictionary_encode() if pa.types.is_string(c.type) else c
            for n, c in zip(table.column_names, table.columns, strict=True)
        }
    )
    hashes = row_hashes(table, table.column_names)
    assert hashes.shape == (table.num_rows, 2)
    assert np.array_equal(hashes, row_hashes(pieces, table.column_names))
    assert np.array_equal(hashes, row_hashes(coded, table.column_names))
    assert np.array_equal(hashes[cut:], row_hashes(table.slice(cut), table.column_names))
    assert content_hash(table) == content_hash(pieces)


@given(tables())
def test_rows_share_a_hash_exactly_when_they_are_equal(table):
    def canonical(cell: object) -> object:
        return None if isinstance(cell, float) and math.isnan(cell) else cell

    rows = {tuple(canonical(cell) for cell in row.values()) for row in table.to_pylist()}
    assert len(as_set(table)) == len(rows)  # Python, too, holds 0.0 == -0.0


@given(st.integers(0, 2**64 - 1))
def test_null_is_told_from_every_pattern_of_bits(bits):
    number = np.array([bits], dtype=np.uint64).view(np.int64)
    assert len(as_set(pa.table({"c": pa.array([None, int(number[0])], pa.int64())}))) == 2


def test_null_is_told_from_zero_and_from_empty_text():
    for values in ([None, 0], [None, 0.0], [None, ""], [None, False], [None, date(1970, 1, 1)], [None, time(0)]):
        assert len(as_set(pa.table({"c": values}))) == 2


def test_nan_is_null_and_minus_zero_is_zero():
    hashes = row_hashes(pa.table({"c": pa.array([float("nan"), None, -0.0, 0.0])}), ["c"])
    assert (hashes[0] == hashes[1]).all()
    assert (hashes[2] == hashes[3]).all()


def test_the_order_of_columns_matters():
    table = pa.table({"a": [1, 2], "b": [2, 1]})
    assert not (row_hashes(table, ["a", "b"]) == row_hashes(table, ["b", "a"])).any()
    assert (row_hashes(table, ["a", "b"])[0] == row_hashes(table, ["b", "a"])[1]).all()


def test_both_lanes_change_with_every_column():
    table = pa.table({name: [0, 1] for name in "abc"})
    for name in "abc":
        one = table.set_column("abc".index(name), name, pa.array([1, 1]))
        assert (row_hashes(table, list("abc"))[0] != row_hashes(one, list("abc"))[0]).all()


def test_hashes_stay_as_they_were_released():
    table = pa.table(
        {
            "n": [1.5, None],
            "i": [-1, 2**62],
            "b": [True, None],
            "s": ["é", ""],
            "d": [date(2020, 2, 29), None],
            "t": [datetime(2020, 1, 1, 1), None],
            "image": images(encode_png(np.arange(6, dtype=np.uint8).reshape(2, 3)), None),
        }
    )
    assert [f"{a:016x}{b:016x}" for a, b in row_hashes(table, table.column_names)] == HASHES
    assert content_hash(table) == CONTENT
    assert row_ids("stratum", np.array([0, 2**40])).to_pylist() == IDS


def test_content_depends_on_names_types_and_order():
    table = pa.table({"a": [1, 2]})
    others = [
        table.rename_columns(["b"]),
        table.take([1, 0]),
        table.slice(0, 1),
        table.cast(pa.schema([("a", pa.float64())])),
    ]
    assert len({content_hash(t) for t in (table, *others, table.slice(0, 0))}) == 6


def test_an_image_is_its_pixels_whatever_the_file():
    grey = (np.arange(64, dtype=np.uint8).reshape(8, 8) * 3).astype(np.uint8)
    colour = np.repeat(grey[:, :, None], 3, axis=2)
    same = images(
        encode(grey, "PNG"), encode(grey, "PNG", compress_level=0), encode(grey, "BMP"), encode(colour, "TIFF")
    )
    assert len(as_set(pa.table({"image": same}))) == 1
    jpeg = encode(grey, "JPEG", quality=60)
    again = encode(np.asarray(Image.open(io.BytesIO(jpeg))), "PNG")
    assert len(as_set(pa.table({"image": images(jpeg, again)}))) == 1


def test_images_differ_by_pixel_by_shape_and_by_depth():
    flat = np.zeros((2, 6), np.uint8)
    dot = flat.copy()
    dot[1, 5] = 1
    deep = np.full((2, 6), 300, np.uint16)
    deeper = np.full((2, 6), 301, np.uint16)
    kinds = [
        encode_png(flat),
        encode_png(dot),
        encode_png(flat.reshape(6, 2)),
        encode(deep, "PNG"),
        encode(deeper, "PNG"),
        None,
    ]
    assert len(as_set(pa.table({"image": images(*kinds)}))) == len(kinds)


def test_a_broken_image_is_named_and_a_huge_one_is_not_decoded():
    whole = encode_png(np.random.default_rng(0).integers(0, 255, (32, 32), dtype=np.uint8))
    with pytest.raises(SourceError, match=r"shelf/a\.png: the image is truncated"):
        decode_image(whole[: len(whole) // 2], where="shelf/a.png")
    with pytest.raises(SourceError, match="truncated, broken"):
        decode_image(b"%PDF-1.7", where="a")
    side = math.isqrt(MAX_PIXELS) + 1
    with pytest.raises(SourceError, match=f"{side} x {side}"):
        decode_image(encode(np.zeros((side, side), np.uint8), "PNG"))


def test_an_image_of_several_frames_is_refused():
    file = io.BytesIO()
    frames = [Image.new("L", (4, 4), shade) for shade in (0, 200)]
    frames[0].save(file, format="GIF", save_all=True, append_images=frames[1:])
    with pytest.raises(SourceError, match="frames"):
        decode_image(file.getvalue())


@given(st.sets(st.integers(0, 2**62), min_size=1, max_size=40))
def test_row_ids_are_a_function_of_stratum_and_candidate(candidates):
    numbers = np.array(sorted(candidates), dtype=np.int64)
    ids = row_ids("aa", numbers)
    ids.validate(full=True)
    assert len(set(ids.to_pylist())) == len(candidates)
    assert all(len(i) == 32 and set(i) <= set("0123456789abcdef") for i in ids.to_pylist())
    assert row_ids("aa", numbers[::-1]).to_pylist() == ids.to_pylist()[::-1]
    assert not set(row_ids("ab", numbers).to_pylist()) & set(ids.to_pylist())


def test_no_candidates_have_no_ids():
    assert row_ids("aa", np.array([], dtype=np.int64)).to_pylist() == []


def test_mixing_is_a_bijection_with_good_avalanche():
    bits = np.arange(1 << 16, dtype=np.uint64)
    mixed = mix(bits)
    assert len(np.unique(mixed)) == len(bits)
    flipped = mix(bits ^ np.uint64(1)) ^ mixed
    share = np.unpackbits(flipped.view(np.uint8)).mean()
    assert abs(share - 0.5) < 0.01
