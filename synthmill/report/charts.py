"""What the report draws: each chart names a specification and holds the rows that go into it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa

from synthmill.report.cells import Cell, records
from synthmill.scoring.histograms import Histogram

_LABEL_PIXELS, _AMOUNT_PIXELS, _LINES_PIXELS, _MATRIX_PIXELS = 18, 150, 190, 240
_LABELS = 12  # a chart's rows; more labels are drawn as one
_TELLING = 15  # columns in the chart of what gives rows away

Row = dict[str, Cell]


@dataclass(frozen=True, slots=True)
class Chart:
    """One figure: `spec` names one of SPECS, `says` is for those who do not see it, `height` is without axes, in pixels."""

    id: str
    spec: str
    title: str
    says: str
    rows: list[Row]
    height: int


def column_chart(histogram: Histogram, place: int) -> Chart:
    """Shares of each side, so that sides of different size compare; labels lie in rows, amounts in columns."""
    is_labels = histogram.kind in ("category", "boolean")
    sides = [_shares(side) for side in (histogram.synthetic, histogram.real)]
    bins = list(zip(histogram.bins, _apart(histogram.ticks), *sides, strict=True))
    rows: list[Row] = [
        {"bin": name, "tick": tick, "synthetic": left, "real": right} for name, tick, left, right in bins
    ]
    if is_labels:
        rows = _pooled(rows)
    height = _LABEL_PIXELS * len(rows) if is_labels else _AMOUNT_PIXELS
    says = f"{histogram.column}: shares of synthetic and of real rows by value"
    return Chart(f"column-{place}", "labels" if is_labels else "amounts", histogram.column, says, rows, height)


def relation_charts(correlations: pa.Table) -> list[Chart]:
    """Three matrices, one triangle of each with its diagonal: synthetic, real, and their difference."""
    pairs = records(correlations)
    names = dict.fromkeys([row[side] for side in ("column", "other") for row in pairs])
    # The diagonal comes first, so that both axes name the columns in one order.
    diagonal: list[Row] = [{"column": name, "other": name, "synthetic": 1.0, "real": 1.0} for name in names]
    rows = [{**row, "difference": _difference(row["synthetic"], row["real"])} for row in [*diagonal, *pairs]]
    titles = {"synthetic": "synthetic", "real": "real", "difference": "synthetic minus real"}
    return [
        Chart(f"relations-{name}", name, title, f"associations of columns: {title}", rows, _MATRIX_PIXELS)
        for name, title in titles.items()
    ]


def importance_chart(columns: pa.Table) -> Chart | None:
    """The columns by which the detector tells rows apart, the most telling first; None where none of them tells anything."""
    rows = _melted(columns.slice(0, _TELLING), "column", {"importance": "importance"})
    if not (rows := [row for row in rows if row["value"]]):
        return None
    title = "Columns, by importance to the classifier"
    return Chart("telling", "importance", title, title.lower(), rows, _height(rows))


def _distances(table: pa.Table) -> list[Row]:
    words = {f"{left}_to_{right}": f"{left} to {right}" for left, right in _PAIRS}
    return _melted(table, "from", words, to="x")


def _roc(table: pa.Table) -> list[Row]:
    return [{"x": row["fpr"], "series": row["attack"], "value": row["tpr"]} for row in records(table)]


def _classes(table: pa.Table) -> list[Row]:
    return [{"name": row["label"], "series": row["trained_on"], "value": row["f1"]} for row in records(table)]


_PAIRS = (("synthetic", "train"), ("synthetic", "holdout"), ("holdout", "train"))
_SIDES = {"synthetic": "synthetic", "real": "real"}
# Tables of evaluators that have a drawing: its specification, its title, the columns that it needs and the rows that it makes of them.
_DRAWN: Mapping[str, tuple[str, str, tuple[str, ...], Callable[[pa.Table], list[Row]]]] = {
    "privacy/dcr/distances": ("distances", "How near is the nearest row?", ("from", "holdout_to_train"), _distances),
    "privacy/membership/roc": ("roc", "Attacks on membership", ("attack", "fpr", "tpr"), _roc),
    "fidelity/alpha_precision/curves": (
        "curves",
        "Precision and recall",
        ("alpha", "precision", "recall"),
        lambda table: _melted(table, "alpha", {"precision": "precision", "recall": "recall"}, to="x"),
    ),
    "utility/tstr/classes": (
        "f1",
        "F1 by label and what the model was trained on",
        ("label", "trained_on", "f1"),
        _classes,
    ),
    "utility/tstr/importance": (
        "gain",
        "Which columns the model uses",
        ("column", "synthetic", "real"),
        lambda table: _melted(table.slice(0, _TELLING), "column", _SIDES),
    ),
    "fairness/representation/groups": (
        "groups",
        "Groups",
        ("group", "synthetic", "real"),
        lambda table: _melted(table, "group", _SIDES),
    ),
}


def detail_chart(name: str, table: pa.Table) -> Chart | None:
    """The drawing of a table, by its full name; None where there is none, or where the table has not the columns it needs."""
    spec, title, needed, draw = _DRAWN.get(name, ("", "", (), records))
    if not spec or not set(needed) <= set(table.column_names):
        return None
    rows = draw(table)
    return Chart(name.replace("/", "-"), spec, title, f"{name}: {title}", rows, _height(rows))


def _melted(table: pa.Table, by: str, fields: Mapping[str, str], *, to: str = "name") -> list[Row]:
    """A row a cell of the `fields`, which are told apart by their words in `series`; cells that hold no number are left out."""
    return [
        {to: row[by], "series": words, "value": row[field]}
        for row in records(table)
        for field, words in fields.items()
        if row.get(field) is not None
    ]


def _height(rows: Sequence[Row]) -> int:
    names = {row.get("name") for row in rows}
    return _LINES_PIXELS if names == {None} else _LABEL_PIXELS * len(names)


def _pooled(rows: list[Row]) -> list[Row]:
    """The first labels, which are the commonest, and all others in one."""
    if len(rows) <= _LABELS:
        return rows
    rest = rows[_LABELS - 1 :]
    words = f"{len(rest)} others"
    sums: Row = {side: round(sum(float(row[side] or 0) for row in rest), 5) for side in ("synthetic", "real")}
    return [*rows[: _LABELS - 1], {"bin": words, "tick": words, **sums}]


def _shares(counts: Sequence[int]) -> list[float]:
    total = sum(counts) or 1
    return [round(count / total, 5) for count in counts]


def _apart(ticks: Sequence[str]) -> list[str]:
    """A label named `missing` beside the missing cells: two bins need two names."""
    seen: dict[str, int] = {}
    told = []
    for tick in ticks:
        seen[tick] = seen.get(tick, 0) + 1
        told.append(f"{tick} ({seen[tick]})" if seen[tick] > 1 else tick)
    return told


def _difference(left: Cell, right: Cell) -> float | None:
    known = [float(one) for one in (left, right) if isinstance(one, float | int)]
    return round(known[0] - known[1], 6) if len(known) == 2 else None
