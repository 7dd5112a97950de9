"""What fidelity costs in privacy: XGBoost score against DCR share, one curve a family over its dial."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pydantic import JsonValue

from bench.table.cells import Cell, Result
from bench.table.data import DATA
from bench.table.page import TITLES

# Each family's dial from careful to faithful; {} is its default.
DIALS: dict[str, tuple[dict[str, JsonValue], ...]] = {
    "table/trees": ({"leaf": 320}, {"leaf": 160}, {"leaf": 80}, {}, {"leaf": 20}, {"leaf": 10}, {"leaf": 5}),
    "table/llm": ({"dropout": 0.7}, {}, {"dropout": 0.3}, {"dropout": 0.1}),
    "table/vae": ({"dropout": 0.7}, {}, {"dropout": 0.3}, {"dropout": 0.1}),
    "table/gan": ({"dropout": 0.7}, {}, {"dropout": 0.3}, {"dropout": 0.1}),
    "table/diffusion": ({"dropout": 0.3}, {}, {"dropout": 0.0}),
}


def dial(data: str, maker: str, *, seed: int, rows: int | None, minutes: float | None) -> list[Cell]:
    """The points of one curve."""
    return [Cell(data, maker, seed, params, rows, minutes) for params in DIALS[maker]]


def draw(results: Sequence[Result], path: Path) -> None:
    """Writes an SVG: a panel a data set, the defaults as large points, the bound of the goal dashed."""
    from vl_convert import vegalite_to_svg

    points = [_point(result) for result in results if _is_shown(result)]
    path.write_text(vegalite_to_svg(_specification(points)), encoding="utf-8")


def _is_shown(result: Result) -> bool:
    """Not the controls, quick looks and peers that were cut off."""
    cell = result.cell
    return "privacy/dcr" in result.scores and cell.rows is None and "seconds" not in cell.params


def _point(result: Result) -> dict[str, JsonValue]:
    cell = result.cell
    dials = DIALS.get(cell.maker, ())
    return {
        "data": DATA[cell.data].title,
        "maker": TITLES.get(cell.maker, cell.maker),
        "step": dials.index(dict(cell.params)) if cell.params in dials else 0,
        "is_default": not cell.params,
        "score": result.scores["fidelity/c2st"],
        "share": result.scores["privacy/dcr"],
    }


def _specification(points: list[dict[str, JsonValue]]) -> dict[str, JsonValue]:
    position = {
        "x": {
            "field": "share",
            "type": "quantitative",
            "title": "DCR share (0.5 remembers nothing)",
            "scale": {"zero": False},
        },
        "y": {
            "field": "score",
            "type": "quantitative",
            "title": "XGBoost score (1 is real)",
            "scale": {"domain": [0, 1]},
        },
        "color": {"field": "maker", "type": "nominal", "title": None},
    }
    line = {"mark": {"type": "line"}, "encoding": {**position, "order": {"field": "step", "type": "quantitative"}}}
    mark = {
        "mark": {"type": "point", "filled": True},
        "encoding": {
            **position,
            "size": {"field": "is_default", "type": "nominal", "legend": None, "scale": {"range": [30, 110]}},
        },
    }
    bound = {"mark": {"type": "rule", "strokeDash": [4, 4], "color": "grey"}, "encoding": {"x": {"datum": 0.52}}}
    titles = [data.title for data in DATA.values()]
    return {
        "$schema": "https://vega.github.io/schema/vega-lite/v5.json",
        "data": {"values": points},
        "facet": {"field": "data", "title": None, "sort": titles},
        "columns": 3,
        "spec": {"width": 260, "height": 220, "layer": [bound, line, mark]},
    }
