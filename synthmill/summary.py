"""Plain text tables for the terminal: the closing table, releases, generators and evaluators."""

from __future__ import annotations

from synthmill import registry
from synthmill.console import duration, table
from synthmill.outcome import Outcome


def outcome_lines(outcome: Outcome) -> list[str]:
    """What a person sees last: the scores with floor, ceiling and verdict, and where everything lies."""
    verdicts = {gate.name: gate for gate in outcome.gates}
    rows = []
    for score in outcome.scores:
        gate = verdicts.get(score.name)
        bound = (
            ""
            if gate is None
            else f"{gate.side.replace('_', ' ')} {gate.bound:g}{'' if gate.of == 'value' else ' of ' + gate.of}"
        )
        verdict = score.status if gate is None else gate.status
        interval = "" if score.interval is None else f"{score.interval[0]:.3f}..{score.interval[1]:.3f}"
        numbers = [_number(n) for n in (score.value, score.floor, score.ceiling, score.normalised)]
        rows.append((score.name, numbers[0], interval, *numbers[1:], bound, verdict))
    head = ("score", "value", "95 % interval", "floor", "ceiling", "normalised", "gate", "verdict")
    scores = ["", *table(head, rows), ""] if rows else [""]
    version = (
        "" if outcome.version is None else f" {outcome.version}" + ("" if outcome.is_new else " (released before)")
    )
    spent = ", ".join(f"{stage} {duration(seconds)}" for stage, seconds in outcome.seconds.items())
    return [
        *scores,
        f"{outcome.dataset}{version}: {outcome.rows:,} rows, {outcome.level}",
        f"  dataset  {outcome.path}",
        f"  report   {outcome.path}/report.html",
        f"  time     {spent}",
    ]


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def catalogue() -> tuple[list[dict[str, str]], list[dict[str, str]]]:
    """Every generator and evaluator with what it can do; imports them all."""
    generators = []
    for key in registry.generator_keys():
        kind = registry.generator(key)
        generators.append(
            {
                "generator": key,
                "family": kind.family,
                "trains": "yes" if kind.trains else "no",
                "params": ", ".join(kind.Params.model_fields),
                "about": _first_line(kind),
            }
        )
    evaluators = []
    for key in registry.evaluator_keys():
        measure = registry.evaluator(key)
        evaluators.append(
            {
                "evaluator": key,
                "modality": measure.modality,
                "better": measure.direction,
                "against": measure.against,
                "needs": "a target" if measure.needs_target else "",
                "about": _first_line(measure),
            }
        )
    return generators, evaluators


def _first_line(kind: type) -> str:
    return (kind.__doc__ or "").strip().partition("\n")[0].rstrip(".")
