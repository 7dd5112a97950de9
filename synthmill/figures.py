"""A dataset's scores as git keeps them: for `dvc metrics diff`, for `dvc plots diff`, and for the gates of later releases.

No version, time, cost or host: equal scores, equal bytes.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence

import pyarrow as pa

from synthmill.evaluator import Score
from synthmill.outcome import ChildScored
from synthmill.scoring import Scores

FORMAT = 3  # 1 had `value` and `normalised` alone; 2 said nothing of where the release comes from
_KEPT = {"value", "direction", "floor", "ceiling", "normalised", "interval", "normalised_interval", "status"}


def make_metrics(
    rows: int,
    scores: Iterable[Score],
    models: Mapping[str, object] | None = None,
    children: Mapping[str, ChildScored] | None = None,
    provenance: Mapping[str, object] | None = None,
) -> dict[str, object]:
    """The content of metrics/NAME.json: with the lineage of models where they start warm, the same of each child table, and provenance.

    DVC shows its numbers, and leaves the intervals out, which are lists.
    """
    entries = {score.name: score.model_dump(mode="json", include=_KEPT) for score in scores}
    below = {name: make_metrics(child.rows, child.scores) for name, child in (children or {}).items()}
    more = {"models": dict(models or {}), "children": below}
    kept = {name: found for name, found in more.items() if found}
    return {"format": FORMAT, "rows": rows, "scores": entries, **kept, **(provenance or {})}


def make_plots(scores: Scores) -> dict[str, bytes]:
    """What each of the stage's plots shows: `scores`, and `columns` with what each column got where that was measured."""
    return {
        "scores": _csv(("score", "value", "normalised", "low", "high"), map(_score_row, scores.scores)),
        "columns": _csv(("column", "shape", "trend"), _column_rows(scores.tables)),
    }


def _score_row(score: Score) -> Sequence[object]:
    return (score.name, score.value, score.normalised, *(score.interval or (None, None)))


def _column_rows(tables: Mapping[str, pa.Table]) -> Iterable[Sequence[object]]:
    shape, trend = (_by_column(tables.get(f"fidelity/{name}/columns")) for name in ("shape", "trend"))
    return ((column, shape.get(column), trend.get(column)) for column in {**shape, **trend})


def _by_column(table: pa.Table | None) -> dict[str, float]:
    """Rounded, so that the last bits of a sum stay out of git."""
    if table is None:
        return {}
    values = (round(value, 6) for value in table["value"].to_pylist())
    return dict(zip(table["column"].to_pylist(), values, strict=True))


def _csv(head: Sequence[str], rows: Iterable[Sequence[object]]) -> bytes:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(head)
    writer.writerows(rows)
    return text.getvalue().encode()
