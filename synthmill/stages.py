"""The commands for what is released: list it, move a stage, take a stage back, yank a release, bring its rows here."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from synthmill.store.listing import Listed
    from synthmill.store.stage_steps import Move

commands = typer.Typer()

Reference = Annotated[str, typer.Argument(help="NAME@v1.0.0, NAME@STAGE, or NAME for the latest that is not yanked")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="say what would change, and change nothing")]
EvenIfYanked = Annotated[bool, typer.Option("--even-if-yanked", help="take a release that is yanked all the same")]
Json = Annotated[bool, typer.Option("--json", help="print one JSON object on stdout")]


@commands.command()
def releases(
    dataset: Annotated[str | None, typer.Argument(help="one dataset; default: all")] = None, as_json: Json = False
) -> None:
    """List the releases of this workspace: rows, headline scores, stages, size, and which are yanked.

    It goes by the tags that are here; `git fetch --tags` brings those of others.
    """
    from synthmill.store.git import Git
    from synthmill.store.listing import list_releases
    from synthmill.store.workspace import find

    git = Git(find(Path.cwd()).root)
    found = list_releases(git, dataset)
    if not found:
        names = ", ".join({entry.release.dataset: "" for entry in list_releases(git)} if dataset else ())
        make = "`synthmill run RECIPE --release` makes one"
        _say(f"no releases of {dataset}; there are some of {names}" if names else f"no releases yet; {make}")
    if as_json:
        typer.echo(json.dumps([entry.fields() for entry in found]))
    elif found:
        typer.echo("\n".join(_table(found)))


@commands.command()
def promote(
    release: Reference,
    stage: Annotated[str, typer.Argument(help="dev, staging or prod")],
    even_if_yanked: EvenIfYanked = False,
    is_dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Put a release in a stage. The tag that says so is on the git remote, where there is one, before this command says it."""
    from synthmill.store.stage_steps import promote as put
    from synthmill.store.workspace import find

    workspace = find(Path.cwd())
    moved = put(workspace, release, stage, _say, even_if_yanked=even_if_yanked, is_dry_run=is_dry_run)
    _tell(moved, is_dry_run=is_dry_run, as_json=as_json)


@commands.command()
def rollback(
    dataset: Annotated[str, typer.Argument(help="the dataset's name")],
    stage: Annotated[str, typer.Argument(help="dev, staging or prod")] = "prod",
    to: Annotated[str | None, typer.Option(metavar="VERSION", help="to this one; safe to repeat")] = None,
    even_if_yanked: EvenIfYanked = False,
    is_dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Put a stage back to the release that it had before. Said again it goes back one more; yanked releases are skipped.

    A release that a stage was rolled back from is not returned to, until it is promoted again.
    """
    from synthmill.store.stage_steps import rollback as take_back
    from synthmill.store.workspace import find

    workspace = find(Path.cwd())
    moved = take_back(workspace, dataset, stage, _say, to=to, even_if_yanked=even_if_yanked, is_dry_run=is_dry_run)
    _tell(moved, is_dry_run=is_dry_run, as_json=as_json)


@commands.command()
def yank(
    release: Annotated[str, typer.Argument(help="NAME@v1.0.0")],
    reason: Annotated[str, typer.Option(help="one line that consumers read")],
    as_json: Json = False,
) -> None:
    """Warn everybody of a release: it is no longer the latest, and pulling or promoting it says the reason.

    Nothing is deleted and no stage moves. There is no way back, because GTO has none that its own `gto show` can read.
    """
    from synthmill.store.stage_steps import yank as take
    from synthmill.store.workspace import find

    found = take(find(Path.cwd()), release, reason, _say)
    tag = found.release.tag
    if as_json:
        fields = {"tag": tag, "yanked": found.reason, "is_new": found.is_new, "remote": found.remote}
        typer.echo(json.dumps({**fields, "stages": list(found.stages)}))
    else:
        typer.echo(f"{tag} {'is' if found.is_new else 'was already'} yanked: {found.reason}")
    for stage in found.stages:
        _say(f"warning: it is still in {stage}; `synthmill rollback {found.release.dataset} {stage}` takes it out")
    _note_remote(found.remote)


@commands.command()
def pull(
    release: Reference,
    to: Annotated[Path | None, typer.Option(metavar="FOLDER", help="default: pulled/NAME-VERSION")] = None,
    as_json: Json = False,
) -> None:
    """Bring a release into a folder, verified, and print the folder. Whole or not at all; other files are never overwritten."""
    from synthmill.store.pull import pull as bring
    from synthmill.store.workspace import find

    found = bring(find(Path.cwd()), release, to, _say)
    if found.reason is not None:
        _say(f"warning: {found.release.tag} is yanked: {found.reason}")
    if as_json:
        fields = {"tag": found.release.tag, "path": str(found.path), "rows": found.release.rows}
        typer.echo(json.dumps({**fields, "yanked": found.reason, "is_new": found.is_new}))
    else:
        typer.echo(str(found.path))


def _table(found: Sequence[Listed]) -> list[str]:
    from synthmill.console import size, table

    head = ("release", "date", "rows", "size", "stages", "scores", "yanked")
    rows = [
        (
            entry.release.tag,
            entry.release.date,
            "" if entry.release.rows is None else f"{entry.release.rows:,}",
            "" if entry.size_bytes is None else size(entry.size_bytes),
            ", ".join(entry.stages),
            ", ".join(f"{name} {value:.3g}" for name, value in entry.headlines.items()),
            entry.reason or "",
        )
        for entry in found
    ]
    kept = [i for i in range(len(head)) if any(row[i] for row in rows)]
    return table([head[i] for i in kept], [[row[i] for i in kept] for row in rows])


def _tell(moved: Move, *, is_dry_run: bool, as_json: bool) -> None:
    release, before = moved.release, None if moved.before is None else str(moved.before)
    if moved.reason is not None:
        _say(f"warning: {release.tag} is yanked: {moved.reason}")
    if as_json:
        fields = {"dataset": release.dataset, "stage": moved.stage, "version": str(release.version), "before": before}
        more = {"tag": moved.tag, "is_new": moved.is_new, "remote": moved.remote, "yanked": moved.reason}
        typer.echo(json.dumps({**fields, **more, "is_dry_run": is_dry_run}))
    elif not moved.is_new:
        typer.echo(f"{release.dataset} {moved.stage}: {release.version} already ({moved.tag})")
    else:
        was = f"from {before} to {release.version}" if before else str(release.version)
        typer.echo(f"{release.dataset} {moved.stage}: {'would be ' if is_dry_run else ''}{was} ({moved.tag})")
    if not is_dry_run:
        _note_remote(moved.remote)


def _note_remote(remote: str | None) -> None:
    if remote is None:
        _say("note: there is no git remote, so only this copy of the workspace knows")


def _say(line: str) -> None:
    typer.echo(line, err=True)
