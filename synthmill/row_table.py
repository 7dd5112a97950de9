"""Synthetic rows as a table on a screen, whatever its width."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from synthmill.columns import Schema
from synthmill.console import table
from synthmill.pixels import decode_image

_LONGEST_CELL = 28


def row_cells(row: Mapping[str, object], schema: Schema) -> list[str]:
    """The cells of one row, cut where they are long; of an image its size."""
    return [_cell(row[column.name], is_image=column.kind == "image") for column in schema]


def _cell(value: object, *, is_image: bool) -> str:
    if value is None:
        return ""
    if is_image and isinstance(value, dict):
        image = decode_image(value["bytes"])
        return f"{image.width} x {image.height}"
    text = f"{value:.5g}" if isinstance(value, float) else str(value).replace("\n", " ")
    return text if len(text) <= _LONGEST_CELL else f"{text[: _LONGEST_CELL - 1]}…"


def fitting(head: Sequence[str], rows: Sequence[Sequence[str]], width: int) -> list[str]:
    """The table; where it is too wide on its side, so that a line is a column, in blocks of as many rows as fit."""
    if _width(lines := table(head, rows)) <= width:
        return lines
    blocks: list[str] = []
    start = 0
    while start < len(rows):
        stop = len(rows)
        while _width(block := _on_its_side(head, rows, range(start, stop))) > width and stop - start > 1:
            stop -= 1
        blocks += [*([""] if blocks else []), *block]
        start = stop
    return blocks


def _on_its_side(head: Sequence[str], rows: Sequence[Sequence[str]], shown: range) -> list[str]:
    cells = zip(head, *(rows[number] for number in shown), strict=True)
    return table(["row", *(str(number + 1) for number in shown)], [list(line) for line in cells])


def _width(lines: Sequence[str]) -> int:
    return len(lines[1])  # of the rule
