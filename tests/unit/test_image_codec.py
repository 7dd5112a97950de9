"""The image codec: every bit of every pixel comes back, and what is no image of train's size is refused by name."""

import io
from contextlib import suppress

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

from synthmill.codecs.image import ImageCodec, Shape, common_shape, read_pixels, shuffle_pixels, write_images
from synthmill.columns import IMAGE_TYPE, Column, Schema
from synthmill.errors import SourceError
from synthmill.scoring.controls import control

IMAGE = Column(name="picture", kind="image", dtype="image")
LABELLED = Schema(
    columns=(
        Column(name="digit", kind="category", dtype="int64", nullable=True),
        IMAGE,
        Column(name="hand", kind="category", dtype="string", nullable=True),
        Column(name="is_clear", kind="boolean", dtype="bool", nullable=True),
    )
)

shapes = st.tuples(st.integers(1, 6), st.sampled_from([1, 3]), st.integers(1, 9), st.integers(1, 9))
pixel_arrays = shapes.flatmap(lambda shape: hnp.arrays(np.uint8, shape))


def file(image: Image.Image, kind: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind)
    return buffer.getvalue()


def cells(*files: bytes | None, paths: list[str | None] | None = None) -> pa.Array:
    paths = paths or [None] * len(files)
    return pa.array([{"bytes": f, "path": p} for f, p in zip(files, paths, strict=True)], IMAGE_TYPE)


def grey(width: int, height: int, value: int = 7) -> bytes:
    return file(Image.new("L", (width, height), value))


@given(pixels=pixel_arrays, data=st.data())
def test_rows_come_back_exactly(pixels, data):
    def labels(values):
        return data.draw(st.lists(st.none() | values, min_size=len(pixels), max_size=len(pixels)))

    table = pa.table(
        {
            "digit": labels(st.integers(-(2**63), 2**63 - 1)),
            "picture": write_images(pixels),
            "hand": labels(st.text(st.characters(codec="utf-8"), max_size=3)),
            "is_clear": labels(st.booleans()),
        },
        schema=LABELLED.arrow,
    )
    codec = ImageCodec.fit(table, LABELLED)
    encoded = codec.encode(table)

    assert np.array_equal(encoded.pixels.numpy(), pixels)
    assert codec.decode(encoded).equals(table)


@given(pixels=pixel_arrays)
def test_a_saved_codec_decodes_the_same(tmp_path_factory, pixels):
    folder = tmp_path_factory.mktemp("codec")
    table = pa.table({"picture": write_images(pixels), "digit": pa.array([None, *range(1, len(pixels))], pa.int64())})
    schema = Schema(columns=(IMAGE, LABELLED["digit"]))
    codec = ImageCodec.fit(table, schema)
    codec.save(folder)

    assert ImageCodec.load(folder).decode(codec.encode(table)).equals(table)


def test_written_files_are_plain_png_without_time_or_name():
    [cell] = write_images(np.zeros((1, 3, 4, 5), np.uint8)).to_pylist()
    image = Image.open(io.BytesIO(cell["bytes"]))

    assert (image.format, image.mode, image.size, image.info, cell["path"]) == ("PNG", "RGB", (5, 4), {}, None)


@pytest.mark.parametrize("mode", ["1", "L", "LA"])
def test_greys_of_any_mode_are_one_channel(mode):
    assert common_shape(cells(file(Image.new(mode, (4, 3)))), "picture") == Shape(1, 3, 4)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P"])
def test_one_colour_image_makes_a_source_colour(mode):
    assert common_shape(cells(grey(4, 3), file(Image.new(mode, (4, 3)))), "picture") == Shape(3, 3, 4)


def test_grey_and_colour_meet_in_the_shape_that_is_asked():
    both = cells(grey(2, 2, 100), file(Image.new("RGB", (2, 2), (100, 100, 100))))

    for channels in (1, 3):
        assert (read_pixels(both, "picture", Shape(channels, 2, 2)) == 100).all()


def test_sixteen_bits_are_refused_not_clipped():
    deep = Image.fromarray(np.full((4, 4), 40_000, np.uint16))

    with pytest.raises(SourceError, match="more than 8 bits"):
        common_shape(cells(file(deep)), "picture")


def test_mixed_sizes_name_both_places():
    mixed = cells(grey(8, 8), grey(8, 9), paths=["a.png", None])

    with pytest.raises(SourceError, match=r"8x8 in a\.png, 8x9 in column picture, row 1\n  resize"):
        common_shape(mixed, "picture")


def test_an_image_of_another_size_than_train_is_refused():
    with pytest.raises(SourceError, match=r"b\.png: the image is 3x2, train has 2x2"):
        read_pixels(cells(grey(3, 2), paths=["b.png"]), "picture", Shape(1, 2, 2))


@pytest.mark.parametrize("table", [cells(None), cells(b""), pa.array([None], IMAGE_TYPE)])
def test_a_missing_image_is_named(table):
    with pytest.raises(SourceError, match="row 0: the image is missing"):
        common_shape(table, "picture")


def test_no_images_are_an_error():
    with pytest.raises(SourceError, match="there are no images"):
        common_shape(cells(), "picture")


def test_a_bomb_is_refused_by_its_header():
    image = bytearray(grey(8, 8))
    image[16:24] = (60_000).to_bytes(4, "big") * 2  # width and height in PNG's header

    with pytest.raises(SourceError):
        common_shape(cells(bytes(image)), "picture")


@pytest.mark.filterwarnings("ignore:Truncated File Read")
@settings(max_examples=200)
@given(
    kind=st.sampled_from(["PNG", "JPEG", "BMP", "GIF", "TIFF", "WEBP"]),
    cut=st.floats(0, 1),
    flips=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), max_size=4),
)
def test_broken_bytes_are_a_source_error_and_nothing_else(kind, cut, flips):
    random = np.random.default_rng(0)
    data = bytearray(file(Image.fromarray(random.integers(0, 256, (16, 16, 3), np.uint8)), kind))
    for place, value in flips:
        data[int(place * len(data))] = value
    data = bytes(data[: int(cut * len(data))])
    with suppress(SourceError):  # a flipped pixel leaves a good image
        common_shape(cells(data), "picture")


def test_a_truncated_png_is_an_error():
    data = file(Image.fromarray(np.random.default_rng(0).integers(0, 256, (16, 16), np.uint8)))
    with pytest.raises(SourceError, match=r"half\.png"):
        common_shape(cells(data[: len(data) // 2], paths=["half.png"]), "picture")


def test_a_label_that_train_lacks_is_refused():
    schema = Schema(columns=(IMAGE, LABELLED["digit"]))
    codec = ImageCodec.fit(pa.table({"picture": cells(grey(2, 2)), "digit": [3]}), schema)

    with pytest.raises(SourceError, match=r"column digit .* train does not have"):
        codec.label_numbers("digit", pa.array([12]))


def test_shuffled_pixels_keep_each_place_and_lose_their_ties():
    random = np.random.default_rng(0)
    row = random.integers(0, 256, (500, 1, 1, 1), np.uint8)
    pixels = np.broadcast_to(row, (500, 3, 4, 5)).copy()  # each image is of one grey, so any two places agree
    schema = Schema(columns=(IMAGE, LABELLED["digit"]))
    table = pa.table({"picture": write_images(pixels), "digit": range(500)}, schema=schema.arrow)

    shuffled = shuffle_pixels(table, schema, seed=3)
    after = read_pixels(shuffled["picture"], "picture", Shape(3, 4, 5))

    assert np.array_equal(np.sort(after, axis=0), np.sort(pixels, axis=0))  # each place has the values it had
    assert (after == after[:, :1]).all()  # the channels of a pixel stay together
    assert abs(np.corrcoef(after[:, 0, 0, 0], after[:, 0, 2, 2])[0, 1]) < 0.2
    assert shuffled["digit"].equals(table["digit"])
    assert shuffle_pixels(table, schema, seed=3).equals(shuffled)
    assert not shuffle_pixels(table, schema, seed=4).equals(shuffled)


def test_the_floor_of_no_images_is_no_images():
    """A stratum without references leaves none; that is an undetermined score and not an error."""
    schema = Schema(columns=(Column(name="image", kind="image", dtype="image"),))
    assert control(schema.arrow.empty_table(), [], [], schema=schema, seed=1).num_rows == 0
