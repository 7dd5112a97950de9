"""A difference as text of at most 100 columns, the headline first."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from textwrap import wrap

from pydantic import JsonValue

from synthmill.console import table
from synthmill.diff.parts import Change, Counts, Difference, Rows, ScoreChange, Shifts, Table
from synthmill.evaluator import Score

WIDTH = 100
_MOST = 20  # lines of one table; --json has all
_LONGEST = 36


def difference_lines(found: Difference) -> list[str]:
    """All sections that have something to say."""
    lines = [
        line for words in (found.headline, *_warnings(found)) for line in wrap(words, WIDTH, subsequent_indent="  ")
    ]
    for one in found.tables:
        lines += [*_rows(one.rows, one.name), *_schema(one), *_shifts(one.shifts, one.name)]
    lines += _scores(found.scores)
    if found.recipe is None:
        lines += ["", "recipe: one of the two is of a format that is no longer read"]
    lines += _changes("recipe", found.recipe or ())
    lines += _changes("code", found.code)
    lines += _changes("usage", found.usage)
    return [line if len(line) <= WIDTH else f"{line[: WIDTH - 1]}…" for line in lines]


def _warnings(found: Difference) -> Iterator[str]:
    for side in (found.then, found.now):
        if side.withdrawn is not None:
            yield f"{side.name} is withdrawn: {side.withdrawn}"
        if side.no_data:
            yield f"{side.name}: {side.no_data}"


def _rows(rows: Rows | None, name: str) -> list[str]:
    if rows is None:
        return []
    head = ("rows of", "then", "now", "in both", "changed", "gone", "added")
    parts = rows.strata if len(rows.strata) <= _MOST else rows.jobs
    shown = [*parts[:_MOST], rows.all] if len(parts) > 1 else [rows.all]
    return ["", *table(head, [(_cut(one.name if one is not rows.all else name), *_counts(one)) for one in shown])]


def _counts(one: Counts) -> tuple[str, ...]:
    return tuple(f"{n:,}" for n in (one.then, one.now, one.both, one.changed, one.gone, one.added))


def _schema(one: Table) -> list[str]:
    if one.turn != "kept":
        return []
    if one.columns is None:
        return ["", f"columns of {one.name}: not known of both"]
    rows = [(_cut(c.column), c.turn, c.then or "", c.now or "") for c in one.columns]
    return ["", *table(("column", "turn", "then", "now"), rows)] if rows else []


def _shifts(shifts: Shifts | None, name: str) -> list[str]:
    if shifts is None or not shifts.columns:
        return []
    head = ("column", "measure", "distance", "chance up to", "missing then", "now", "")
    rows = [
        (
            _cut(one.column),
            one.measure,
            f"{one.distance:.3f}",
            f"{one.by_chance:.3f}",
            f"{one.missing_then:.1%}",
            f"{one.missing_now:.1%}",
            "shifted" if one.is_shift else "",
        )
        for one in shifts.columns[:_MOST]
    ]
    more = [f"and {len(shifts.columns) - _MOST} columns that are nearer"] if len(shifts.columns) > _MOST else []
    base = f"distributions of {name}, of {shifts.rows_then:,} and {shifts.rows_now:,} rows"
    left = ", ".join(f"{column} ({kind})" for column, kind in shifts.not_compared.items())
    return ["", base, *table(head, rows), *more, *([f"not compared: {left}"] if left else [])]


def _scores(scores: Sequence[ScoreChange]) -> list[str]:
    rows = [(_cut(one.name), *_score(one.then), *_score(one.now), _turn(one)) for one in scores]
    head = ("score", "then", "interval", "norm.", "now", "interval", "norm.", "turn")
    return ["", *table(head, rows)] if rows else []


def _turn(one: ScoreChange) -> str:
    return "" if one.turn == "no clear change" else one.turn


def _score(score: Score | None) -> tuple[str, str, str]:
    if score is None:
        return "", "", ""
    interval = "" if score.interval is None else f"{score.interval[0]:.3f}..{score.interval[1]:.3f}"
    return _number(score.value), interval, _number(score.normalised)


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def _changes(title: str, changes: Sequence[Change]) -> list[str]:
    rows = [tuple(_cut(text, 31) for text in (one.name, _plain(one.then), _plain(one.now))) for one in changes[:_MOST]]
    more = [f"and {len(changes) - _MOST} more, with --json"] if len(changes) > _MOST else []
    return ["", *table((title, "then", "now"), rows), *more] if rows else []


def _plain(value: JsonValue) -> str:
    if value is None:
        return "-"
    return f"{value:,.6g}" if isinstance(value, float) else str(value)


def _cut(text: str, longest: int = _LONGEST) -> str:
    return text if len(text) <= longest else f"{text[: longest - 1]}…"
