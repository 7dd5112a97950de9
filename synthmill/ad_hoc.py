"""The commands that need no run: `score` any three tables, `preview` a recipe, `sample` a fitted model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

commands = typer.Typer()

RecipePath = Annotated[Path, typer.Argument(help="a recipe, such as recipes/fair.yaml")]
Overrides = Annotated[list[str] | None, typer.Option("--set", help="KEY=VALUE, e.g. jobs.0.rows=500; for once")]
Json = Annotated[bool, typer.Option("--json", help="print one JSON object on stdout")]


@commands.command()
def score(
    synthetic: Annotated[
        str, typer.Argument(help="the table to judge: a file, a folder of Parquet, a released dataset")
    ],
    train: Annotated[str, typer.Option(help="the real rows it was made from; they decide the types of the columns")],
    holdout: Annotated[str, typer.Option(help="real rows that its maker never saw")],
    target: Annotated[str | None, typer.Option(help="the column to predict; adds utility")] = None,
    protected: Annotated[str | None, typer.Option(help="the column of groups; adds fairness")] = None,
    scores: Annotated[
        list[str] | None, typer.Option(help="an evaluator; repeat for more; default: all that fit")
    ] = None,
    set_kind: Annotated[list[str] | None, typer.Option(help="COLUMN=KIND instead of the inferred kind")] = None,
    rules: Annotated[list[str] | None, typer.Option(help="an SQL expression that every row should meet")] = None,
    seed: Annotated[int, typer.Option(min=0, help="of what is drawn at random")] = 0,
    out: Annotated[Path | None, typer.Option(help="folder of the report; default: scores/NAME")] = None,
    as_json: Json = False,
) -> None:
    """Score any synthetic table against real ones; writes report.html and report.json.

    It needs no recipe and no workspace, and as little memory for ten million synthetic rows as for ten thousand.
    """
    from synthmill.compare import CompareRequest, compare
    from synthmill.console import duration, reporting
    from synthmill.stop import StopFlag
    from synthmill.summary import score_lines

    request = CompareRequest(
        synthetic,
        train,
        holdout,
        target=target,
        protected=protected,
        scores=tuple(scores or ()),
        kinds=tuple(set_kind or ()),
        rules=tuple(rules or ()),
        seed=seed,
        out=out,
    )
    stop = StopFlag()
    with stop.listening(), reporting() as words:
        found = compare(request, words, stop)
    if as_json:
        typer.echo(
            found.model_dump_json(
                include={"synthetic", "rows", "train_rows", "holdout_rows", "scores", "path", "seconds"}
            )
        )
        return
    for line in score_lines(found):
        typer.echo(line)
    typer.echo(f"{found.synthetic}: {found.rows:,} rows against {found.holdout_rows:,} held-out rows")
    typer.echo(f"  report   {found.path}/report.html")
    typer.echo(f"  time     {duration(found.seconds)}")


@commands.command()
def preview(
    recipe: RecipePath,
    rows: Annotated[int, typer.Option(min=1, max=1000, help="of each job, and of each stratum of a balanced one")] = 5,
    overrides: Overrides = None,
) -> None:
    """Show a few rows of each job, the first that a run would make. Nothing is written.

    A model that an earlier run fitted is used; another one is fitted for the preview and forgotten.
    """
    from rich.console import Console

    from synthmill.console import reporting
    from synthmill.preview import preview as make
    from synthmill.preview import preview_lines
    from synthmill.stop import StopFlag
    from synthmill.store.workspace import find

    screen, stop, workspace = Console(soft_wrap=True), StopFlag(), find(Path.cwd())
    width = screen.width if screen.is_terminal else 120
    with stop.listening():
        with reporting() as words:
            found = list(make(recipe, overrides or (), rows, workspace, words, stop))
        for job in found:
            for line in preview_lines(job, width, in_colour=screen.color_system is not None):
                screen.print(line, markup=False, highlight=False)
    if failures := [job.failure for job in found if job.failure is not None]:
        raise failures[0]


@commands.command()
def sample(
    recipe: RecipePath,
    rows: Annotated[int, typer.Option(min=1, max=10**12, help="accepted rows to make, exactly")],
    out: Annotated[str, typer.Option(help="a .parquet, .csv or .jsonl file, or - for csv on stdout")],
    job: Annotated[int, typer.Option(min=0, help="which job of the recipe, counted from 0")] = 0,
    where: Annotated[list[str] | None, typer.Option(help="COLUMN=VALUE, met by every row; repeat for more")] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="other rows of the same model")] = None,
    overrides: Overrides = None,
    fit: Annotated[bool, typer.Option("--fit", help="fit the model where no run has, for this sample alone")] = False,
    force: Annotated[bool, typer.Option("--force", help="replace the file")] = False,
) -> None:
    """Write rows from a fitted model to a file: as many as you like, under the job's rules and filters.

    They are the job's own stream: as many rows as the dataset has are the dataset's rows, more go on from there.
    """
    from synthmill.console import reporting
    from synthmill.sample import SampleRequest
    from synthmill.sample import sample as write
    from synthmill.stop import StopFlag
    from synthmill.store.workspace import find

    request = SampleRequest(
        recipe,
        rows,
        None if out == "-" else Path(out),
        job=job,
        conditions=tuple(where or ()),
        seed=seed,
        overrides=tuple(overrides or ()),
        may_fit=fit,
        may_replace=force,
    )
    stop = StopFlag()
    with stop.listening(), reporting() as words:
        write(request, find(Path.cwd()), words, stop)
