"""The report's charts as Vega-Lite specifications, without data, sizes and colours.

The page brings the library (Satyanarayan, Moritz, Wongsuphasawat and Heer, "Vega-Lite: A Grammar of Interactive Graphics", 2017). Colours
are named by style (`synthetic`, `real`) and given by the page, which knows whether it is light or dark. Data meet a specification as
field values alone, never as part of an expression.
"""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import JsonValue

Part = dict[str, JsonValue]

_FIT: Part = {"autosize": {"type": "fit-x", "contains": "padding"}}
_PERCENT: Part = {"title": None, "format": "~%", "tickCount": 4}


def _share(field: str) -> Part:
    return {"field": field, "type": "quantitative", "title": field, "format": ".2%"}


def _overlaid(channel: str, other: str, bars: str = "synthetic", lines: str = "real") -> Part:
    """Histograms along `channel`: one field as bars, one as lines over them, and all of the bin as a target for the pointer."""
    band: Part = {"field": "tick", "type": "nominal", "sort": None, **_BANDS[channel]}
    start: Part = {"field": "tick", "type": "nominal", "sort": None, "bandPosition": 0}
    end: Part = {"field": "tick", "bandPosition": 1}
    amount: Part = {"type": "quantitative", "axis": _PERCENT}
    shown: list[JsonValue] = [{"field": "bin", "title": "value"}, _share(bars), _share(lines)]
    return {
        **_FIT,
        "encoding": {"tooltip": shown},
        "layer": [
            {
                "mark": {"type": "bar", "style": "synthetic"},
                "encoding": {channel: band, other: {"field": bars, **amount}},
            },
            {
                "mark": {"type": "rule", "style": "real"},
                "encoding": {channel: start, f"{channel}2": end, other: {"field": lines, **amount}},
            },
            {"mark": {"type": "bar", "style": "target"}, "encoding": {channel: band}},
        ],
    }


_BANDS: Mapping[str, Part] = {
    "x": {
        "axis": {
            "title": None,
            "labelOverlap": "greedy",
            "labelSeparation": 10,
            "labelAngle": 0,
            "bandPosition": 0,
        },
        "scale": {"paddingInner": 0.06, "paddingOuter": 0.1},
    },
    "y": {"axis": {"title": None, "labelLimit": 130}, "scale": {"paddingInner": 0.35, "paddingOuter": 0.2}},
}


def _matrix(field: str, reach: float) -> Part:
    """A cell a pair of columns, from `-reach` to `reach`."""
    side: Part = {"type": "nominal", "sort": None, "axis": {"title": None, "labelLimit": 140, "grid": False}}
    legend: Part = {"title": None, "orient": "bottom", "gradientLength": 160, "gradientThickness": 8, "tickCount": 3}
    scale: Part = {"domain": [-reach, 0, reach], "range": "diverging", "interpolate": "rgb", "clamp": True}
    numbers: list[JsonValue] = [
        {"field": name, "type": "quantitative", "format": "+.2f"} for name in ("synthetic", "real", "difference")
    ]
    return {
        **_FIT,
        "mark": {"type": "rect", "style": "cell"},
        "encoding": {
            "x": {"field": "other", **side},
            "y": {"field": "column", **side},
            "color": {"field": field, "type": "quantitative", "scale": scale, "legend": legend},
            "tooltip": [{"field": "column"}, {"field": "other"}, *numbers],
        },
    }


def _lines(x: str, y: str) -> Part:
    """Two or three curves over one axis."""
    legend: Part = {"title": None, "orient": "top", "direction": "vertical"}
    series: Part = {"field": "series", "type": "nominal", "sort": None, "legend": legend}
    return {
        **_FIT,
        "mark": {"type": "line", "strokeWidth": 2},
        "encoding": {
            "x": {"field": "x", "type": "quantitative", "title": x, "axis": {"grid": False, "tickCount": 5}},
            "y": {"field": "value", "type": "quantitative", "title": y, "axis": {"format": "~%", "tickCount": 4}},
            "color": series,
            "strokeDash": series,
            "tooltip": [
                {"field": "series"},
                {"field": "x", "type": "quantitative", "title": x, "format": ".4~f"},
                {"field": "value", "type": "quantitative", "title": y, "format": ".2%"},
            ],
        },
    }


def _dots(x: str) -> Part:
    """A line a name, a dot a series: how far apart are they?"""
    series: Part = {"field": "series", "type": "nominal", "sort": None, "legend": {"title": None, "orient": "top"}}
    return {
        **_FIT,
        "mark": {"type": "point", "filled": True, "size": 60, "opacity": 1},
        "encoding": {
            "y": {
                "field": "name",
                "type": "nominal",
                "sort": None,
                "axis": {"title": None, "grid": True, "labelLimit": 130},
            },
            "x": {"field": "value", "type": "quantitative", "title": x, "axis": {"grid": False, "tickCount": 5}},
            "color": series,
            "shape": series,
            "tooltip": [
                {"field": "name"},
                {"field": "series"},
                {"field": "value", "type": "quantitative", "title": x, "format": ".3f"},
            ],
        },
    }


_IMPORTANCE: Part = {
    **_FIT,
    "mark": {"type": "bar", "style": "synthetic"},
    "encoding": {
        "y": {"field": "name", "type": "nominal", "sort": None, **_BANDS["y"]},
        "x": {"field": "value", "type": "quantitative", "axis": _PERCENT},
        "tooltip": [
            {"field": "name", "title": "column"},
            {"field": "value", "title": "importance", "type": "quantitative", "format": ".1%"},
        ],
    },
}

SPECS: Mapping[str, Part] = {
    "amounts": _overlaid("x", "y"),
    "labels": _overlaid("y", "x"),
    "amounts-since": _overlaid("x", "y", "now", "then"),
    "labels-since": _overlaid("y", "x", "now", "then"),
    "synthetic": _matrix("synthetic", 1),
    "real": _matrix("real", 1),
    "difference": _matrix("difference", 0.5),
    "importance": _IMPORTANCE,
    "distances": _lines("Gower distance to the nearest row", "share of rows"),
    "roc": _lines("false positive rate", "true positive rate"),
    "curves": _lines("alpha", "share of rows"),
    "f1": _dots("F1"),
    "gain": _dots("share of the model's gain"),
    "groups": _dots("share of rows"),
}
