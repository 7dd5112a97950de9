"""Images on a terminal: two pixels a character, the upper half block in one colour on a ground of another."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from rich.style import Style
from rich.text import Text

_LARGEST = 32  # pixels of a side; two make a character's height
_GAP = 2


def half_blocks(images: Sequence[Image.Image], width: int) -> Text:
    """As many images side by side as `width` characters hold, each scaled down to 32 pixels a side at most."""
    pixels = [_pixels(image) for image in images]
    across = max(1, width // (_LARGEST + _GAP if not pixels else max(p.shape[1] for p in pixels) + _GAP))
    pixels = pixels[:across]
    text = Text()
    for top in range(0, max((len(p) for p in pixels), default=0), 2):
        for image in pixels:
            text.append(" " * _GAP)
            for upper, lower in zip(*_pair(image, top), strict=True):
                text.append("▀", Style(color=_colour(upper), bgcolor=_colour(lower)))
        text.append("\n")
    return text


def _pixels(image: Image.Image) -> NDArray[np.uint8]:
    """(height, width, 3), the height even."""
    small = image.convert("RGB")
    small.thumbnail((_LARGEST, _LARGEST))
    pixels = np.asarray(small)
    return np.pad(pixels, ((0, len(pixels) % 2), (0, 0), (0, 0)))


def _pair(image: NDArray[np.uint8], top: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Two rows of pixels; of a lower image, black ones."""
    if top < len(image):
        return image[top], image[top + 1]
    return np.zeros_like(image[0]), np.zeros_like(image[0])


def _colour(pixel: NDArray[np.uint8]) -> str:
    red, green, blue = (int(value) for value in pixel)
    return f"#{red:02x}{green:02x}{blue:02x}"
