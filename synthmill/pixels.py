"""Encoded images to pixels, safely: known formats alone, a cap checked before decoding, truncated files refused."""

from __future__ import annotations

import struct
import zlib
from io import BytesIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from synthmill.errors import SourceError

FORMATS = ("PNG", "JPEG", "BMP", "GIF", "WEBP", "TIFF")
MAX_PIXELS = 4096 * 4096  # an image of a few kilobytes can claim a billion pixels
# What Pillow's readers raise on bytes that are not what their header says.
_BROKEN = (OSError, ValueError, TypeError, SyntaxError, EOFError, IndexError, struct.error, zlib.error)


def decode_image(data: bytes, *, where: str = "") -> Image.Image:
    """The decoded image in its own mode; SourceError, with `where` (a path or a row), for what is no whole image of one frame."""
    try:
        image = Image.open(BytesIO(data), formats=FORMATS)
    except (*_BROKEN, Image.DecompressionBombError) as error:
        what = "the image is truncated, broken, or none of " + ", ".join(FORMATS)
        raise SourceError(what, where=where, hint="replace or remove it") from error
    width, height = image.size
    if width * height > MAX_PIXELS:
        hint = f"resize it to at most {MAX_PIXELS:,} pixels"
        raise SourceError(f"the image claims {width} x {height} pixels, too many to decode", where=where, hint=hint)
    try:
        frames = getattr(image, "n_frames", 1)
        if frames == 1:
            image.load()
    except _BROKEN as error:
        raise SourceError("the image is truncated or broken", where=where, hint="replace or remove it") from error
    if frames > 1:
        raise SourceError("the image has several frames", where=where, hint="save one frame a file")
    return image


def encode_png(pixels: NDArray[np.uint8]) -> bytes:
    """PNG bytes of pixels (height, width) or (height, width, 3): lossless, no metadata, the same for the same pixels."""
    file = BytesIO()
    Image.fromarray(pixels).save(file, format="PNG", compress_level=6)
    return file.getvalue()
