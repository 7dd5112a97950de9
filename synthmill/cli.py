"""The `synthmill` command. Words and progress on stderr, results on stdout; heavy packages are imported where a command needs them.

Exit codes: 0 done, 1 the run failed, 2 bad input or usage, 3 a gate was missed, 130 interrupted.
"""

from __future__ import annotations

import atexit
import json
import logging
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from synthmill import ad_hoc, release_command, review, stages, tracing, upkeep
from synthmill.errors import Interrupted, SynthmillError

if TYPE_CHECKING:
    from synthmill.outcome import Outcome
    from synthmill.run_request import RunRequest
    from synthmill.store.workspace import Workspace

app = typer.Typer(
    name="synthmill",
    help="A recipe in, a released synthetic dataset out.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


def _print_version(is_asked: bool) -> None:
    if is_asked:
        from importlib.metadata import version

        typer.echo(version("synthmill"))
        raise typer.Exit


Version = Annotated[
    bool, typer.Option("--version", callback=_print_version, is_eager=True, help="print the version and exit")
]


@app.callback(help=app.info.help)
def _root(version: Version = False) -> None:
    pass


RecipePath = Annotated[Path, typer.Argument(help="a recipe, such as recipes/fair.yaml")]
Json = Annotated[bool, typer.Option("--json", help="print one JSON object on stdout")]


def main() -> None:
    """The command: execute, and leave without taking the interpreter apart.

    Arrow's reader threads now and then abort an interpreter that ends, with exit code 134 after good work. What is registered
    first to run at exit runs last: everybody else has cleaned up by then.
    """
    codes: list[int] = []
    atexit.register(lambda: _leave(codes[0] if codes else 1))
    codes.append(execute())
    sys.exit(codes[0])


def _leave(code: int) -> None:
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def execute() -> int:
    """Run a command and return its exit code; errors of ours become one message."""
    _set_up_logging()
    os.environ.setdefault("DO_NOT_TRACK", "1")
    try:
        _refuse_shadows()
        app(standalone_mode=True)
    except SystemExit as leaving:
        return leaving.code if isinstance(leaving.code, int) else int(leaving.code is not None)
    except SynthmillError as error:
        return _tell(error)
    except KeyboardInterrupt:
        return _tell(Interrupted("stopped at once", hint="run again to go on"))
    return 0


def _set_up_logging() -> None:
    """Warnings to stderr. Ours are made from INFO on, because the flow sends them to Prefect too."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(name)s: %(message)s"))
    handler.setLevel(logging.WARNING)
    for name in ("synthmill", "generators", "evaluators", "flows"):
        logging.getLogger(name).addHandler(handler)
        logging.getLogger(name).setLevel(logging.INFO)


def _tell(error: SynthmillError) -> int:
    typer.echo(f"{_kind(error)}: {error}", err=True)
    return error.exit_code


def _kind(error: SynthmillError) -> str:
    return {2: "bad input", 3: "gate missed", 130: "interrupted"}.get(error.exit_code, "error")


def _refuse_shadows() -> None:
    """A folder of the user's named flows, generators or evaluators must not be taken for ours."""
    import importlib.util

    home = Path(__file__).resolve().parent.parent
    for name in ("flows", "generators", "evaluators"):
        spec = importlib.util.find_spec(name)
        found = Path(spec.origin).resolve().parent if spec and spec.origin else None
        if found != home / name:
            from synthmill.errors import WorkspaceError

            hint = "rename that folder, or run from another one"
            raise WorkspaceError(f"{found or 'a folder'} is taken for Synthmill's package {name}", hint=hint)


@app.command()
def init(
    folder: Annotated[Path, typer.Argument(help="made where it is missing; what is there is kept")],
    remote: Annotated[Path | None, typer.Option(help="folder of the DVC remote; default: FOLDER/remote")] = None,
) -> None:
    """Make a workspace: git, DVC with a local remote, dvc.yaml, prefect.yaml and two recipes."""
    from synthmill.store.workspace import create

    workspace = create(folder, remote=remote)
    enter = "" if workspace.root == Path.cwd() else f"cd {folder} && "
    typer.echo(f"a workspace at {workspace.root}; next: {enter}synthmill run recipes/fair.yaml --release", err=True)


@app.command()
def run(
    recipe: RecipePath,
    place: Annotated[bool, typer.Option("--place", help="put it in datasets/ when its gates pass")] = False,
    release: Annotated[bool, typer.Option("--release", help="place it, version it with DVC and tag it in git")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="show the plan and what it would cost; write nothing")
    ] = False,
    overrides: Annotated[list[str] | None, typer.Option("--set", help="KEY=VALUE, e.g. jobs.0.rows=500")] = None,
    save: Annotated[bool, typer.Option("--save", help="write the overrides into the recipe")] = False,
    inline: Annotated[bool, typer.Option("--inline", help="without Ray and Prefect; the same bytes")] = False,
    workers: Annotated[int | None, typer.Option(min=1, help="actors; changes the speed, never a byte")] = None,
    override: Annotated[
        str | None, typer.Option("--override", metavar="REASON", help="release in spite of gates that block; recorded")
    ] = None,
    as_json: Json = False,
) -> None:
    """Run a recipe: fit, generate, score, and place or release what passes its gates."""
    from synthmill.run_request import RunRequest
    from synthmill.store.workspace import find

    request = RunRequest(recipe, tuple(overrides or ()), save=save, place=place, release=release, override=override)
    workspace = find(Path.cwd())
    request.check(workspace)  # before a server is brought up for it
    if dry_run:
        from synthmill.dry_run import describe_run

        typer.echo(describe_run(request, workspace, as_json=as_json))
        return
    outcome, error = (_run_inline if inline else _run_flow)(request, workspace, workers)
    if outcome is not None:
        _show(outcome, as_json=as_json)
    if error is not None:
        raise error


def _run_inline(
    request: RunRequest, workspace: Workspace, workers: int | None
) -> tuple[Outcome | None, SynthmillError | None]:
    from synthmill.console import reporting
    from synthmill.inline import Inline
    from synthmill.run import Run
    from synthmill.stop import StopFlag

    stop, outcome = StopFlag(), None
    with reporting() as reporter, stop.listening(), Run(request, workspace, reporter, stop) as run, Inline() as engine:
        try:
            plan = run.prepare()
            run.make(plan, engine)
            for child in run.children(plan):
                run.make(child, engine)
            outcome = run.score(plan, engine)
            outcome = run.finish(plan, outcome)
        except SynthmillError as error:
            return outcome, error
    return outcome, None


def _run_flow(
    request: RunRequest, workspace: Workspace, workers: int | None
) -> tuple[Outcome | None, SynthmillError | None]:
    from flows.server import connect, user_api_url

    if user_api_url(os.environ) is None:
        typer.echo("prefect: the embedded server, which takes a few seconds to start", err=True)
    with connect(workspace.local) as connection:  # says where the API is, so before Prefect is imported
        from flows.synthesize import SESSION, Session, synthesize, unforeseen
        from synthmill.console import reporting

        with reporting() as reporter:
            session = Session(reporter, on_started=connection.run_file.record, workers=workers)
            token = SESSION.set(session)
            try:
                state = synthesize(
                    recipe=str(request.recipe),
                    workspace=str(workspace.root),
                    overrides=list(request.overrides),
                    save=request.save,
                    place=request.place,
                    release=request.release,
                    override=request.override,
                    return_state=True,
                )
            finally:
                SESSION.reset(token)
        if session.error is None and not state.is_completed():
            raise unforeseen(state)
        return session.outcome, session.error


def _show(outcome: Outcome, *, as_json: bool) -> None:
    if as_json:
        typer.echo(outcome.model_dump_json())
        return
    from synthmill.summary import outcome_lines

    for line in outcome_lines(outcome):
        typer.echo(line)


app.add_typer(review.commands)
app.add_typer(ad_hoc.commands)
app.add_typer(release_command.commands)
app.add_typer(stages.commands)
app.add_typer(tracing.commands)
app.add_typer(upkeep.commands)


@app.command()
def schema() -> None:
    """Print the JSON schema of recipes, for editors."""
    from synthmill.spec import Recipe

    typer.echo(json.dumps(Recipe.model_json_schema(by_alias=True), indent=1))


@app.command(name="list")
def list_all(as_json: Json = False) -> None:
    """List generators and evaluators with what each can do."""
    from synthmill.summary import catalogue, catalogue_lines

    found = catalogue()
    typer.echo(json.dumps(found) if as_json else "\n".join(catalogue_lines(found)))


if __name__ == "__main__":
    main()
