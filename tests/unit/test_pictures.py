"""Images as coloured half blocks."""

import io

import numpy as np
from PIL import Image
from rich.console import Console

from synthmill.pictures import half_blocks


def printed(images, width=80):
    console = Console(file=io.StringIO(), force_terminal=True, color_system="truecolor", width=width)
    console.print(half_blocks(images, width))
    return console.file.getvalue()


def test_two_rows_of_pixels_share_a_character():
    pixels = np.zeros((2, 1, 3), dtype=np.uint8)
    pixels[0, 0], pixels[1, 0] = (255, 0, 10), (0, 128, 255)
    assert "\x1b[38;2;255;0;10;48;2;0;128;255m▀\x1b[0m" in printed([Image.fromarray(pixels)])


def test_images_of_any_size_and_mode_stand_side_by_side():
    images = [Image.new("L", (8, 8), 255), Image.new("RGBA", (3, 5)), Image.new("1", (8, 8))]
    lines = half_blocks(images, 80).plain.splitlines()
    assert lines[:4] == ["  " + "▀" * 8 + "  " + "▀" * 3 + "  " + "▀" * 8] * 4


def test_what_does_not_fit_is_left_out_and_what_is_large_is_scaled_down():
    lines = half_blocks([Image.new("L", (320, 640))] * 5, 40).plain.splitlines()
    assert lines[:16] == ["  " + "▀" * 16] * 16 or lines[:16] == [("  " + "▀" * 16) * 2] * 16
