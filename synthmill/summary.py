"""Plain text tables for the terminal: the closing table, releases, generators and evaluators."""

from __future__ import annotations

from collections.abc import Sequence

from synthmill import registry
from synthmill.console import duration, table
from synthmill.evaluator import Evaluator, Score
from synthmill.outcome import Outcome, Scored
from synthmill.scoring.gates import Verdict


def outcome_lines(outcome: Outcome) -> list[str]:
    """What a person sees last: the scores with floor, ceiling and verdict, and where everything lies."""
    version = (
        "" if outcome.version is None else f" {outcome.version}" + ("" if outcome.is_new else " (released before)")
    )
    spent = ", ".join(f"{stage} {duration(seconds)}" for stage, seconds in outcome.seconds.items())
    return [
        *score_lines(outcome),
        *(
            line
            for name, child in outcome.children.items()
            for line in (f"{name}: {child.rows:,} rows", *score_lines(child))
        ),
        *([f"gates overridden: {outcome.override}"] if outcome.override else []),
        f"{outcome.dataset}{version}: {outcome.rows:,} rows, {outcome.level}",
        f"  dataset  {outcome.path}",
        f"  report   {outcome.path}/report.html",
        f"  time     {spent}",
    ]


def score_lines(scored: Scored) -> list[str]:
    """The table of scores, a line for each further gate of one score, then the reasons of what did not go well."""
    head = ("score", "value", "95 % interval", "floor", "ceiling", "normalised", "gate", "verdict")
    rows = [row for score in scored.scores for row in _score_rows(score, scored.gates)]
    reasons = [f"{score.name}: {score.reason}" for score in scored.scores if score.reason]
    warnings = [f"warning: {gate.name} {gate.status}: {gate.reason}" for gate in scored.gates if gate.warns]
    return ["", *table(head, rows), *reasons, *warnings, ""] if rows else [""]


def _score_rows(score: Score, gates: Sequence[Verdict]) -> list[tuple[str, ...]]:
    interval = "" if score.interval is None else f"{score.interval[0]:.3f}..{score.interval[1]:.3f}"
    value, *others = [_number(n) for n in (score.value, score.floor, score.ceiling, score.normalised)]
    judged: list[tuple[str, str]] = [(gate.demand, gate.status) for gate in gates if gate.name == score.name]
    first, *more = judged or [("", score.status)]
    return [(score.name, value, interval, *others, *first), *(("", "", "", "", "", "", *other) for other in more)]


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def catalogue() -> dict[str, list[dict[str, str]]]:
    """Every generator and evaluator with what it can do; imports them all."""
    generators, evaluators = [], []
    for key in registry.generator_keys():
        kind = registry.generator(key)
        generators.append(
            {
                "key": key,
                "can": f"{kind.family}, {'fitted on train' if kind.trains else 'pretrained'}",
                "about": _first_line(kind),
                "params": ", ".join(kind.Params.model_fields),
            }
        )
    for key in registry.evaluator_keys():
        measure = registry.evaluator(key)
        evaluators.append(
            {
                "key": key,
                "can": f"{measure.modality}, {measure.scores['']} is better, against {measure.against}",
                "about": _first_line(measure),
                "parts": ", ".join(f"{key}/{name} ({better})" for name, better in measure.scores.items() if name),
                "needs": _needs(measure),
            }
        )
    return {"generators": generators, "evaluators": evaluators}


def catalogue_lines(found: dict[str, list[dict[str, str]]]) -> list[str]:
    """The catalogue for people: a block an entry."""
    lines = []
    for title, entries in found.items():
        lines += [title]
        width = max((len(entry["key"]) for entry in entries), default=0)
        for entry in entries:
            more = [f"{name}: {entry[name]}" for name in ("params", "parts", "needs") if entry.get(name)]
            lines += [
                f"  {entry['key']:<{width}}  {entry['can']}",
                *(f"      {text}" for text in (entry["about"], *more)),
            ]
    return lines


def _needs(measure: type[Evaluator]) -> str:
    needed = {"source.target": measure.needs_target, "source.protected": measure.needs_protected}
    return ", ".join(name for name, is_needed in needed.items() if is_needed)


def _first_line(kind: type) -> str:
    return (kind.__doc__ or "").strip().partition("\n")[0].rstrip(".")
