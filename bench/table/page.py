"""The stored results as the tables of docs/benchmarks/tables.md."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from statistics import mean

from bench.table.cells import CONTROLS, PEERS, Result
from bench.table.data import DATA

TITLES = {
    "ceiling": "unseen real rows",
    "floor": "every column on its own",
    "ctgan": "CTGAN",
    "tvae": "TVAE",
    "tabular-argn": "TabularARGN",
    "gaussian-copula": "GaussianCopula",
}
NOT_RUN = "not run"
# Score or cost -> heading and how a number is written.
_COLUMNS = {
    "fidelity/c2st": ("XGBoost", "{:.3f}"),
    "utility/tstr": ("TSTR", "{:.3f}"),
    "privacy/dcr": ("DCR share", "{:.3f}"),
    "privacy/copies": ("copies", "{:.4f}"),
    "privacy/copies/near": ("near", "{:.4f}"),
    "fidelity/c2st_logistic": ("logistic", "{:.3f}"),
    "fidelity/shape": ("shape", "{:.3f}"),
    "fidelity/trend": ("trend", "{:.3f}"),
    "fit_s": ("fit s", "{:.0f}"),
    "fit_core_s": ("core-s", "{:.0f}"),
    "peak_bytes": ("peak MB", "{:.0f}"),
    "rows_per_core_s": ("rows/core-s", "{:,.0f}"),
}

Rows = dict[str, dict[str, list[Result]]]
"""Row of the table -> data -> results, one a seed."""


def tables(results: Sequence[Result], makers: Sequence[str]) -> str:
    """One table of what decides, then one of everything for each data set."""
    rows = _rows(results, makers)
    parts = ["\n".join(_headline(rows))]
    for data, known in DATA.items():
        parts.append(f"### {known.title}\n\n" + "\n".join(_everything(rows, data)))
    return "\n\n".join(parts)


def _rows(results: Sequence[Result], makers: Sequence[str]) -> Rows:
    """Makers at their defaults on whole tables; peers at equal time below their own."""
    rows: Rows = {}
    for maker in (*CONTROLS, *makers, *PEERS):
        rows[TITLES.get(maker, maker)] = defaultdict(list)
        if maker in PEERS and maker != "gaussian-copula":
            rows[f"{TITLES[maker]}, equal time"] = defaultdict(list)
    for result in results:
        cell = result.cell
        title = TITLES.get(cell.maker, cell.maker)
        if cell.params.keys() == {"seconds"}:
            title = f"{title}, equal time"
        elif cell.params:
            continue  # a dial's point
        if cell.rows is None and title in rows:
            rows[title][cell.data].append(result)
    return rows


def _headline(rows: Rows) -> Iterator[str]:
    yield "| XGBoost score (TSTR; DCR share) | " + " | ".join(data.title for data in DATA.values()) + " |"
    yield "| --- |" + " --- |" * len(DATA)
    for title, by_data in rows.items():
        yield f"| {title} | " + " | ".join(_deciding(by_data.get(data, [])) for data in DATA) + " |"


def _deciding(results: Sequence[Result]) -> str:
    if not results:
        return NOT_RUN
    share = f"; {_number(results, 'privacy/dcr')}" if "privacy/dcr" in results[0].scores else ""
    seeds = f" over {len(results)} seeds" if len(results) > 1 else ""
    return f"{_number(results, 'fidelity/c2st')} ({_number(results, 'utility/tstr')}{share}){seeds}"


def _everything(rows: Rows, data: str) -> Iterator[str]:
    yield "| | " + " | ".join(heading for heading, _ in _COLUMNS.values()) + " | seeds | measured |"
    yield "| --- |" + " --- |" * (len(_COLUMNS) + 2)
    for title, by_data in rows.items():
        results = by_data.get(data, [])
        if results:
            days = max(result.measured for result in results)
            numbers = " | ".join(_number(results, name) for name in _COLUMNS)
            yield f"| {title} | {numbers} | {len(results)} | {days} |"
        else:
            yield f"| {title} | {NOT_RUN} |" + " |" * (len(_COLUMNS) + 1)


def _number(results: Sequence[Result], name: str) -> str:
    """The mean over seeds; nothing where a maker has no such number."""
    known = [(result.scores | result.costs).get(name) for result in results]
    values = [value for value in known if value is not None]
    if not values:
        return ""
    value = mean(values) / 1e6 if name == "peak_bytes" else mean(values)
    return _COLUMNS[name][1].format(value)
