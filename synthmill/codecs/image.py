"""Images <-> pixels, and the labels beside them.

Pixels keep every bit: what comes back is a PNG of the same pixels. Greyscale where all of train is, else RGB; transparency is dropped. One
size per source, since a network has one: images of several sizes are an error that says to resize them, never a silent crop.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Self, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from numpy.typing import NDArray
from PIL import Image

from synthmill.codecs.base import Codec
from synthmill.columns import IMAGE_TYPE, Column, Schema
from synthmill.errors import SourceError
from synthmill.pixels import decode_image, encode_png

_GREY = ("1", "L", "LA")  # Pillow's modes
_DEEP = ("I", "F", "I;16", "I;16L", "I;16B", "I;16N")  # more than 8 bits a channel

Pixels = NDArray[np.uint8]  # (rows, channels, height, width)
Cells: TypeAlias = "pa.Array | pa.ChunkedArray"
Label = str | int | bool | None


class Shape(NamedTuple):
    """Of every image of a source; `channels` is 1 (grey) or 3 (red, green, blue)."""

    channels: int
    height: int
    width: int


@dataclass(frozen=True, slots=True)
class Images:
    """Encoded rows: `pixels` uint8 (rows, channels, height, width), `labels` int64 (rows, label columns) into the codec's vocabularies."""

    pixels: torch.Tensor
    labels: torch.Tensor


def common_shape(cells: Cells, column: str) -> Shape:
    """The shape that all images share. Raises SourceError for a broken image, or where sizes differ."""
    sizes: dict[tuple[int, int], str] = {}
    is_grey = True
    for place, image in _decoded(cells, column):
        sizes.setdefault(image.size, place)
        is_grey = is_grey and image.mode in _GREY
        if len(sizes) > 1:
            (first, where), (other, there) = [(f"{w}x{h}", at) for (w, h), at in sizes.items()]
            raise SourceError(
                f"images differ in size: {first} in {where}, {other} in {there}", hint="resize them all to one size"
            )
    if not sizes:
        raise SourceError("there are no images", where=f"column {column}")
    [(width, height)] = sizes
    return Shape(1 if is_grey else 3, height, width)


def read_pixels(cells: Cells, column: str, shape: Shape) -> Pixels:
    """Decode images to one array, colour made grey where `shape` has one channel. Raises SourceError for a broken image or another size."""
    pixels = np.empty((len(cells), *shape), np.uint8)
    for row, (place, image) in enumerate(_decoded(cells, column)):
        if image.size != (shape.width, shape.height):
            size = f"{image.width}x{image.height}"
            raise SourceError(
                f"the image is {size}, train has {shape.width}x{shape.height}", where=place, hint="resize it"
            )
        values = np.asarray(image.convert("L" if shape.channels == 1 else "RGB"))
        pixels[row] = values.reshape(shape.height, shape.width, shape.channels).transpose(2, 0, 1)
    return pixels


def write_images(pixels: Pixels) -> pa.StructArray:
    """PNG cells of IMAGE_TYPE with a null path; the same pixels always give the same bytes (no time, no name inside)."""
    rows = pixels.transpose(0, 2, 3, 1)  # (rows, height, width, channels)
    files = [encode_png(values[..., 0] if values.shape[-1] == 1 else values) for values in rows]
    columns = [pa.array(files, pa.binary()), pa.nulls(len(files), pa.string())]
    return pa.StructArray.from_arrays(columns, fields=list(IMAGE_TYPE))


def shuffle_pixels(table: pa.Table, schema: Schema, seed: int) -> pa.Table:
    """Every pixel sampled on its own: each place of the image is permuted over the rows, by itself, its channels together.

    The control that knows how bright each place is and nothing else. Other columns stay as they are.
    """
    image = image_column(schema)
    shape = common_shape(table[image.name], image.name)
    pixels = read_pixels(table[image.name], image.name, shape)
    random = np.random.default_rng(seed)
    for y, x in np.ndindex(shape.height, shape.width):
        pixels[:, :, y, x] = random.permutation(pixels[:, :, y, x])
    return table.set_column(table.column_names.index(image.name), image.name, write_images(pixels))


def image_column(schema: Schema) -> Column:
    """The image column of an image source; the first, should there be several."""
    return next(column for column in schema if column.kind == "image")


class ImageCodec(Codec[Images]):
    """One image column and any number of label columns (categories and booleans; a missing label is a label of its own)."""

    version = 1

    def __init__(self, schema: Schema, shape: Shape, vocabularies: Sequence[Sequence[Label]]) -> None:
        self.schema, self.shape = schema, shape
        self.image = image_column(schema)
        self.labels = tuple(column for column in schema if column.is_discrete)
        self.vocabularies = tuple(tuple(words) for words in vocabularies)  # a label column each, missing last
        assert len(self.labels) + 1 == len(schema), "a generator's schema() refuses all other columns"

    @classmethod
    def fit(cls, table: pa.Table, schema: Schema) -> Self:
        """Learn the shape of the images and the labels in use; raises SourceError where the images have no one size."""
        shape = common_shape(table[image_column(schema).name], image_column(schema).name)
        return cls(schema, shape, [_vocabulary(table[column.name]) for column in schema if column.is_discrete])

    def encode(self, table: pa.Table) -> Images:
        """Decode the images and number the labels; raises SourceError for a broken image, or a label that train does not have."""
        pixels = read_pixels(table[self.image.name], self.image.name, self.shape)
        numbers = [self.label_numbers(column.name, table[column.name]) for column in self.labels]
        labels = np.stack(numbers, 1) if numbers else np.empty((table.num_rows, 0), np.int64)
        return Images(torch.from_numpy(pixels), torch.from_numpy(labels))

    def decode(self, encoded: Images) -> pa.Table:
        """Rows under the fitted schema, images as PNG."""
        labels = encoded.labels.cpu().numpy()
        columns: dict[str, pa.Array] = {self.image.name: write_images(encoded.pixels.cpu().numpy())}
        for number, column in enumerate(self.labels):
            columns[column.name] = self._words(number).take(pa.array(labels[:, number]))
        return pa.table([columns[name] for name in self.schema.names], schema=self.schema.arrow)

    def label_numbers(self, name: str, values: Cells) -> NDArray[np.int64]:
        """The numbers of labels of one column, shape (rows,). Raises SourceError for a label that train does not have."""
        number = [column.name for column in self.labels].index(name)
        words = self._words(number)
        found = pc.index_in(values.cast(words.type), value_set=words)
        if found.null_count:
            raise SourceError(
                f"column {name} is given a label that train does not have",
                hint=f"train has {len(words)} labels there; ask for one of them",
            )
        return np.asarray(found, dtype=np.int64)

    def _words(self, number: int) -> pa.Array:
        return pa.array(self.vocabularies[number], self.labels[number].arrow)

    def save(self, folder: Path) -> None:
        """Write codec.json."""
        state = {"schema": self.schema.model_dump(), "shape": self.shape, "vocabularies": self.vocabularies}
        (folder / "codec.json").write_text(json.dumps(state, indent=1, sort_keys=True), encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read codec.json."""
        state = json.loads((folder / "codec.json").read_text(encoding="utf-8"))
        return cls(Schema.model_validate(state["schema"]), Shape(*state["shape"]), state["vocabularies"])


def _vocabulary(values: pa.ChunkedArray) -> list[Label]:
    """The distinct labels in order, missing last."""
    distinct = values.unique().to_pylist()
    missing: list[Label] = [None] if None in distinct else []
    return sorted(label for label in distinct if label is not None) + missing


def _decoded(cells: Cells, column: str) -> Iterator[tuple[str, Image.Image]]:
    """Each image and its place: its path, or its row where it has none."""
    for row, scalar in enumerate(cells):  # one at a time: all at once would hold every file a second time
        cell = scalar.as_py()
        data, path = (cell["bytes"], cell["path"]) if cell else (None, None)
        place = path or f"column {column}, row {row}"
        if not data:
            raise SourceError("the image is missing", where=place, hint="leave the row out of the source")
        image = decode_image(data, where=place)
        if image.mode in _DEEP:
            raise SourceError("the image has more than 8 bits a channel", where=place, hint="convert it to 8 bits")
        yield place, image
