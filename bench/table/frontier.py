"""What fidelity costs in privacy: XGBoost score against DCR share, one curve a family over its dial."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from pydantic import JsonValue

from bench.table.cells import Cell, Result
from bench.table.data import DATA
from bench.table.page import TITLES

# Each family's dial from careful to faithful; {} is its default.
DIALS: dict[str, tuple[dict[str, JsonValue], ...]] = {
    "table/trees": ({"leaf": 320}, {"leaf": 160}, {"leaf": 80}, {}, {"leaf": 20}, {"leaf": 10}, {"leaf": 5}),
    "table/llm": ({"steps": 300}, {"steps": 600}, {}, {"steps": 2000}, {"steps": 2000, "dropout": 0.2}),
    "table/vae": ({"steps": 400}, {}, {"width": 256}),
    "table/gan": ({"steps": 500}, {}),
    "table/diffusion": ({"steps": 500}, {}),
}


def dial(data: str, maker: str, *, seed: int, rows: int | None, minutes: float | None) -> list[Cell]:
    """The points of one curve."""
    return [Cell(data, maker, seed, params, rows, minutes) for params in DIALS[maker]]


def draw(results: Sequence[Result], path: Path) -> None:
    """Writes an SVG: a panel a data set, the copies of each point by its size."""
    from vl_convert import vegalite_to_svg

    points = [_point(result) for result in results if "privacy/dcr" in result.scores and result.cell.rows is None]
    path.write_text(vegalite_to_svg(_specification(points)), encoding="utf-8")


def _point(result: Result) -> dict[str, JsonValue]:
    cell = result.cell
    dials = DIALS.get(cell.maker, ())
    return {
        "data": DATA[cell.data].title,
        "maker": TITLES.get(cell.maker, cell.maker),
        "step": dials.index(dict(cell.params)) if cell.params in dials else 0,
        "setting": json.dumps(dict(cell.params)) if cell.params else "default",
        "is_default": not cell.params,
        "score": result.scores["fidelity/c2st"],
        "share": result.scores["privacy/dcr"],
        "copies": result.scores["privacy/copies"],
    }


def _specification(points: list[dict[str, JsonValue]]) -> dict[str, JsonValue]:
    position = {
        "x": {
            "field": "share",
            "type": "quantitative",
            "title": "DCR share (0.5 remembers nothing)",
            "scale": {"zero": False},
        },
        "y": {"field": "score", "type": "quantitative", "title": "XGBoost score (1 is real)"},
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
        "resolve": {"scale": {"x": "independent"}},
    }
