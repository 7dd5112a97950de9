"""The commands for candidates that wait in state: list them or look at one, approve it, drop it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from synthmill.quarantine import Waiting

commands = typer.Typer()

_WIDTH = 120  # where stdout is no terminal
Plan = Annotated[str, typer.Argument(help="the beginning of its plan, or its dataset where only one waits")]
Json = Annotated[bool, typer.Option("--json", help="print one JSON object on stdout")]


@commands.command()
def candidates(
    plan: Annotated[str | None, typer.Argument(help="one of them, by plan or dataset; default: list all")] = None,
    as_json: Json = False,
) -> None:
    """List the candidates that wait to be released, or show one: scores, gates, a few rows and its report."""
    from synthmill.quarantine import choose, waiting
    from synthmill.store.workspace import find

    workspace = find(Path.cwd())
    if plan is not None:
        _show(choose(workspace, plan), as_json=as_json)
        return
    found = waiting(workspace)
    if as_json:
        typer.echo(json.dumps([_fields(entry) for entry in found]))
    elif found:
        from synthmill.console import table

        rows = [(e.dataset, e.plan[:12], f"{e.candidate.plan.rows:,}", e.since, e.verdict) for e in found]
        typer.echo("\n".join(table(("dataset", "plan", "rows", "since", "gates"), rows)))
    else:
        typer.echo("no candidate waits; a run whose gates block leaves one", err=True)


@commands.command()
def approve(
    plan: Plan,
    reason: Annotated[str, typer.Argument(help="why it may be released; kept in manifest, card and runs/")],
    place: Annotated[bool, typer.Option("--place", help="put it in datasets/ alone, without a version")] = False,
    as_json: Json = False,
) -> None:
    """Release a candidate that waits, in spite of gates that block it. Nothing is generated again."""
    from synthmill.console import reporting
    from synthmill.quarantine import approve as release
    from synthmill.quarantine import choose
    from synthmill.stop import StopFlag
    from synthmill.store.workspace import find
    from synthmill.summary import outcome_lines

    stop, workspace = StopFlag(), find(Path.cwd())
    chosen = choose(workspace, plan)
    with reporting() as reporter, stop.listening():
        outcome = release(workspace, chosen, reason, reporter, stop, to_release=not place)
    typer.echo(outcome.model_dump_json() if as_json else "\n".join(outcome_lines(outcome)))


@commands.command()
def drop(plan: Plan) -> None:
    """Remove a candidate that waits. Its model stays, so that a run makes the same rows again without a fit."""
    from synthmill.quarantine import choose
    from synthmill.quarantine import drop as remove
    from synthmill.store.workspace import find

    workspace = find(Path.cwd())
    chosen = choose(workspace, plan)
    remove(workspace, chosen)
    typer.echo(f"dropped {chosen.dataset}, plan {chosen.plan[:12]}", err=True)


def _fields(entry: Waiting) -> dict[str, object]:
    return {
        "dataset": entry.dataset,
        "plan": entry.plan,
        "rows": entry.candidate.plan.rows,
        "since": entry.since,
        "path": str(entry.candidate.folder),
        "recipe": entry.origin.recipe,
        **entry.scored.model_dump(mode="json"),
    }


def _show(entry: Waiting, *, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(_fields(entry)))
        return
    from rich.console import Console

    from synthmill.row_table import fitting, row_cells
    from synthmill.summary import score_lines

    screen, schema = Console(), entry.candidate.plan.jobs[0].schema_
    width = screen.width if screen.is_terminal else _WIDTH
    rows = [row_cells(row, schema) for row in entry.first_rows().to_pylist()]
    private = entry.candidate.root / "private.html"
    lines = [
        f"{entry.dataset}, plan {entry.plan}, {entry.candidate.plan.rows:,} rows, since {entry.since}",
        *score_lines(entry.scored),
        *(f"{gate.name} {gate.status}: {gate.reason}" for gate in entry.scored.blocked),
        "",
        *fitting(schema.names, rows, width),
        "",
        f"  recipe   {entry.origin.recipe}",
        f"  dataset  {entry.candidate.folder}",
        f"  report   {entry.candidate.folder}/report.html",
        *([f"  private  {private} (shows real rows)"] if private.exists() else []),
        f"  next     `synthmill approve {entry.plan[:12]} REASON`, or `synthmill drop {entry.plan[:12]}`",
    ]
    typer.echo("\n".join(lines))
