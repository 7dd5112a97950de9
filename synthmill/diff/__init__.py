"""`synthmill diff`: two releases, or folders of datasets, side by side: rows, schema, distributions, scores, recipe, code and usage.

What git tells is compared always; rows and distributions where the data of both can be read.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Literal

from pydantic import JsonValue

from synthmill.columns import Column
from synthmill.console import Reporter
from synthmill.diff.parts import Change, ColumnChange, Compared, Difference, Rows, ScoreChange, Shifts, Side, Table
from synthmill.diff.rows import compare_rows
from synthmill.diff.shifts import draw_samples, find_shifts
from synthmill.diff.sides import Dataset, read_dataset
from synthmill.report.changes import compare as compare_scores
from synthmill.scoring.histograms import Histogram, histograms
from synthmill.scoring.previous import PreviousRelease
from synthmill.store.held import Unreachable


def compare(then: str, now: str, reporter: Reporter) -> Compared:
    """`then` and `now` as a person writes them: NAME@v1.0.0, NAME@prod, NAME, or a folder that holds manifest.json."""
    old, new = read_dataset(then, reporter.say), read_dataset(now, reporter.say)
    pictures: dict[str, tuple[Histogram, ...]] = {}
    tables, old_gone, new_gone = [], old.side.no_data, new.side.no_data
    for child in (None, *_children(old, new)):
        name = child or new.side.dataset
        reporter.say(f"diff: comparing the rows of {name}")
        try:
            rows, shifts, pictures[name] = _compare_data(old, new, child)
        except Unreachable as error:
            rows = shifts = None
            if not old_gone and not new_gone:
                old_gone, new_gone = _blame(old, new, error)
        columns = _schema(old.columns(child), new.columns(child))
        tables.append(Table(name=name, turn=_turn(old, new, child), columns=columns, rows=rows, shifts=shifts))
    sides = (old.side.model_copy(update={"no_data": old_gone}), new.side.model_copy(update={"no_data": new_gone}))
    previous = PreviousRelease("", old.side.rows, {score.name: score for score in old.scores}, old.recipe)
    changes = compare_scores(previous, new.scores, new.recipe)
    scores = tuple(ScoreChange(name=one.name, turn=one.turn, then=one.then, now=one.now) for one in changes.scores)
    keys = tuple(Change(name=one.key, then=one.then, now=one.now) for one in changes.keys)
    difference = Difference(
        headline=_headline(*sides, tables, scores),
        then=sides[0],
        now=sides[1],
        tables=tuple(tables),
        scores=scores,
        recipe=keys if old.recipe and new.recipe else None,
        code=tuple(_changes(_code(old, new), _code(new, old))),
        usage=tuple(_changes(_usage(old), _usage(new), same=True)),
    )
    return Compared(difference=difference, histograms=pictures)


def _children(*sides: Dataset) -> list[str]:
    return list(dict.fromkeys(name for side in sides if side.manifest for name in side.manifest.children))


def _turn(old: Dataset, new: Dataset, child: str | None) -> Literal["kept", "added", "gone"]:
    """A child table that a known manifest does not name is not there."""
    if child is None or old.manifest is None or new.manifest is None:
        return "kept"
    if child not in old.manifest.children:
        return "added"
    return "kept" if child in new.manifest.children else "gone"


def _compare_data(
    old: Dataset, new: Dataset, child: str | None
) -> tuple[Rows | None, Shifts | None, tuple[Histogram, ...]]:
    """Nothing where one of them has no such table."""
    before, after = old.columns(child), new.columns(child)
    if before is None or after is None:
        return None, None, ()
    for side in (old, new):
        if side.manifest is None:  # before the other's rows are fetched for nothing
            raise Unreachable(side.side.no_data)
    then, now = old.files(child), new.files(child)
    known = {column.name: column for column in before}
    shared = [c for c in after if c.name in known and known[c.name].arrow == c.arrow]
    rows = compare_rows(then, now, [column.name for column in shared])
    samples = draw_samples(then, now, [column for column in shared if known[column.name].kind == column.kind])
    drawn = histograms(samples.now, samples.then, samples.columns)
    others = {column.name: column for column in (*before, *after)}
    return rows, find_shifts(samples, others.values()), drawn


def _blame(old: Dataset, new: Dataset, error: Unreachable) -> tuple[str, str]:
    """Whose data it is that cannot be read."""
    is_old = error.where and error.where.startswith(old.side.name)
    return (error.what, "") if is_old else ("", error.what)


def _schema(then: Sequence[Column] | None, now: Sequence[Column] | None) -> tuple[ColumnChange, ...] | None:
    if then is None or now is None:
        return None
    before, after = ({column.name: _says(column) for column in side} for side in (then, now))
    names = dict.fromkeys((*before, *after))
    return tuple(
        ColumnChange(
            column=name,
            turn="added" if name not in before else "gone" if name not in after else "changed",
            then=before.get(name),
            now=after.get(name),
        )
        for name in names
        if before.get(name) != after.get(name)
    )


def _says(column: Column) -> str:
    zone = f" in {column.timezone}" if column.timezone else ""
    return f"{column.kind}, {column.dtype}{zone}{', may be missing' if column.nullable else ''}"


def _code(one: Dataset, other: Dataset) -> dict[str, JsonValue]:
    """What made it, as far as it is known of both: generators, codecs, packages, models, sources."""
    found: dict[str, JsonValue] = {"plan": one.side.plan}
    if one.manifest is not None and other.manifest is not None:
        found |= {"source": one.manifest.source, **one.manifest.versions}
        for place, job in enumerate(one.manifest.jobs):
            found |= {f"model of job {place}": job.model, f"weights of job {place}": job.model_sha256}
    if one.provenance is not None and other.provenance is not None:
        known = one.provenance
        found.pop("source", None)
        found |= {f"{made.generator} version": made.version for made in known.jobs}
        found |= {f"{made.generator} codec": made.codec for made in known.jobs}
        own = [made.model for made in known.jobs if made.child is None]
        found |= {f"model of job {place}": model for place, model in enumerate(own)}
        found |= {f"model of {made.child}": made.model for made in known.jobs if made.child is not None}
        found |= {f"source {source.uri}": source.fingerprint for source in known.sources if source.fingerprint}
        found |= {package.name: package.version for package in known.packages}
    return found


def _usage(one: Dataset) -> dict[str, JsonValue]:
    """The run that released it; seconds by stage."""
    found: dict[str, JsonValue] = {n: value for n, value in one.run.items() if isinstance(value, str | int | float)}
    seconds = one.run.get("seconds")
    if isinstance(seconds, Mapping):
        found |= {f"seconds of {stage}": value for stage, value in seconds.items()}
    return {name: value for name, value in found.items() if name not in ("run", "plan", "version")}


def _changes(then: Mapping[str, JsonValue], now: Mapping[str, JsonValue], *, same: bool = False) -> Iterator[Change]:
    """What differs; with `same` also what does not."""
    for name in dict.fromkeys((*then, *now)):
        if same or then.get(name) != now.get(name):
            yield Change(name=name, then=then.get(name), now=now.get(name))


def _headline(then: Side, now: Side, tables: Sequence[Table], scores: Sequence[ScoreChange]) -> str:
    return f"{_between(then, now)}: {'; '.join(_news(tables, scores)) or 'no difference'}"


def _between(then: Side, now: Side) -> str:
    if then.version and now.version and then.dataset == now.dataset:
        return f"{then.dataset} {then.version} -> {now.version}"
    return f"{then.name} -> {now.name}"


def _news(tables: Sequence[Table], scores: Sequence[ScoreChange]) -> Iterator[str]:
    for place, table in enumerate(tables):
        whose = f"{table.name}: " if place else ""
        if table.turn != "kept":
            yield f"{whose}{table.turn}"
        elif table.rows is None:
            yield f"{whose}rows not compared"
        else:
            one = table.rows.all
            counts = [(one.gone, "gone"), (one.added, "added"), (one.changed, "changed")]
            parts = [f"{n:,} rows {word}" if not at else f"{n:,} {word}" for at, (n, word) in enumerate(_some(counts))]
            yield (
                f"{whose}{', '.join([*parts, f'{one.both:,} in both'])}"
                if parts
                else f"{whose}the same {one.now:,} rows"
            )
        if table.columns:
            yield f"{len(table.columns)} columns changed in the schema"
        if table.shifts and (shifted := [c.column for c in table.shifts.columns if c.is_shift]):
            named = ", ".join(shifted) if len(shifted) <= 3 else f"{len(shifted)} columns"
            yield f"{named} shifted"
    for turn in ("worse", "better"):
        if names := [score.name for score in scores if score.turn == turn]:
            yield f"{', '.join(names) if len(names) <= 2 else f'{len(names)} scores'} {turn}"


def _some(counts: list[tuple[int, str]]) -> list[tuple[int, str]]:
    return [(n, word) for n, word in counts if n]
