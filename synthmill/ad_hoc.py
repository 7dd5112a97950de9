"""The commands that need no run: `score` any three tables, `preview` a recipe, `sample` a fitted model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

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
    """Show a few rows of each job, the first that a run would make, and their rows of child tables. Nothing is written.

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
    out: Annotated[str, typer.Option("--out", "-o", help="a .parquet, .csv or .jsonl file, or - for csv on stdout")],
    rows: Annotated[int | None, typer.Option(min=1, max=10**12, help="accepted rows to make, exactly")] = None,
    complete: Annotated[
        Path | None, typer.Option(help="instead of --rows: a file of rows, to fill their empty cells")
    ] = None,
    times: Annotated[int, typer.Option(min=1, help="with --complete: so many completions of each row")] = 1,
    unknown: Annotated[
        Literal["refuse", "keep", "blank"],
        typer.Option(
            help="with --complete: rows with a label that train never had are refused, keep their gaps, or are "
            "filled as if that cell were blank"
        ),
    ] = "refuse",
    job: Annotated[int, typer.Option(min=0, help="which job of the recipe, counted from 0")] = 0,
    where: Annotated[list[str] | None, typer.Option(help="COLUMN=VALUE, met by every row; repeat for more")] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="other rows of the same model")] = None,
    overrides: Overrides = None,
    fit: Annotated[bool, typer.Option("--fit", help="fit the model where no run has, for this sample alone")] = False,
    force: Annotated[bool, typer.Option("--force", help="replace the file")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="check everything and say what would be done")] = False,
    as_json: Json = False,
) -> None:
    """Write rows from a fitted model to a file: as many as you like, under the job's rules and filters.

    They are the job's own stream: as many rows as the dataset has are the dataset's rows, more go on from there. With --complete they
    are the rows of a file, and what is empty in them is filled to go with what is given.
    """
    from synthmill.complete import CompleteRequest, Completion
    from synthmill.complete import complete as fill
    from synthmill.console import reporting
    from synthmill.errors import InputError
    from synthmill.one_job import JobRequest
    from synthmill.sample import Sample, SampleRequest
    from synthmill.sample import sample as write
    from synthmill.stop import StopFlag
    from synthmill.store.workspace import find

    if (rows is None) == (complete is None):
        raise InputError("give either --rows or --complete", hint="so many new rows, or a file of rows to fill")
    if times > 1 and complete is None:
        raise InputError("--times goes with --complete", where="--times", hint="for more new rows raise --rows")
    if unknown != "refuse" and complete is None:
        raise InputError("--unknown goes with --complete", where=f"--unknown {unknown}", hint="leave it out")
    if as_json and out == "-":
        raise InputError("--json and the rows both want stdout", where="--out -", hint="name a file")
    asked = JobRequest(recipe, job, tuple(where or ()), seed, tuple(overrides or ()), may_fit=fit)
    target, workspace, stop = None if out == "-" else Path(out), find(Path.cwd()), StopFlag()
    with stop.listening(), reporting() as words:
        done: Sample | Completion
        if rows is not None:
            done = write(SampleRequest(asked, rows, target, force, dry_run), workspace, words, stop)
        elif complete is not None:
            gaps = CompleteRequest(asked, complete, target, times, force, dry_run, unknown)
            done = fill(gaps, workspace, words, stop)
    if as_json:
        typer.echo(done.model_dump_json())
    if done.failure is not None:
        raise done.failure
