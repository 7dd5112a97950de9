"""The command that releases a candidate which is there: after `synthmill run` without `--release`, or after a release that failed."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from synthmill.releasing import Prospect

commands = typer.Typer()


@commands.command()
def release(
    name: Annotated[str, typer.Argument(help="the dataset")],
    plan: Annotated[
        str | None, typer.Option("--plan", metavar="PREFIX", help="the beginning of its plan, where several could be")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="say what would be released; write nothing")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="print one JSON object on stdout")] = False,
) -> None:
    """Release the candidate of a dataset that passed its gates, or go on with a release that was stopped. Nothing is generated."""
    from synthmill.console import reporting
    from synthmill.releasing import choose_for_release, foresee, release_chosen
    from synthmill.stop import StopFlag
    from synthmill.store.workspace import find
    from synthmill.summary import outcome_lines

    stop, workspace = StopFlag(), find(Path.cwd())
    chosen = choose_for_release(workspace, name, plan)
    if dry_run:
        prospect = foresee(workspace, chosen)
        typer.echo(json.dumps(asdict(prospect)) if as_json else _lines(prospect))
        return
    with reporting() as reporter, stop.listening():
        outcome = release_chosen(workspace, chosen, reporter, stop)
    typer.echo(outcome.model_dump_json() if as_json else "\n".join(outcome_lines(outcome)))


def _lines(prospect: Prospect) -> str:
    from synthmill.console import size

    how = "would be" if prospect.is_new else "is already, and would be pushed again where something is missing"
    lines = [
        f"{prospect.dataset}@{prospect.version} {how}: plan {prospect.plan[:12]}, {prospect.rows:,} rows",
        f"  files    {prospect.files:,}, {size(prospect.size_bytes)}",
        f"  recipe   {prospect.recipe}",
        f"  dataset  {prospect.path}",
        *([f"  override {prospect.override}"] if prospect.override else []),
    ]
    return "\n".join(lines)
