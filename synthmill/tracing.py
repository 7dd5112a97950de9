"""The commands that look at releases side by side and at where they come from: diff, lineage."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from synthmill.lineage.family import Family

commands = typer.Typer()

Json = Annotated[bool, typer.Option("--json", help="print one JSON object on stdout")]
_DATASET = "NAME@v1.0.0, NAME@prod, NAME (its latest), or a folder that holds manifest.json"
_EVENTS = "write OpenLineage events there, a line a release; - for stdout"


@commands.command()
def diff(
    then: Annotated[str, typer.Argument(metavar="A", help=_DATASET)],
    now: Annotated[str, typer.Argument(metavar="B", help="what to compare it with, likewise")],
    html: Annotated[
        Path | None, typer.Option("--html", metavar="FILE", help="write a page with charts as well")
    ] = None,
    as_json: Json = False,
) -> None:
    """Compare two releases: rows added and gone, schema, distributions, scores, recipe, code and usage."""
    from synthmill.console import reporting
    from synthmill.diff import compare
    from synthmill.diff.words import difference_lines
    from synthmill.errors import InputError

    if html is not None and not html.absolute().parent.is_dir():
        raise InputError("there is no such folder", where=str(html.parent), hint="make it first")
    with reporting() as reporter:
        found = compare(then, now, reporter)
    if html is not None:
        from synthmill.diff.page import render
        from synthmill.store.files import publish_bytes

        publish_bytes(html, render(found).encode())
        typer.echo(f"the page is {html}", err=True)
    typer.echo(found.difference.model_dump_json() if as_json else "\n".join(difference_lines(found.difference)))


@commands.command()
def lineage(
    what: Annotated[str, typer.Argument(metavar="RELEASE|SOURCE", help="NAME@v1.0.0, NAME@prod or NAME")],
    reverse: Annotated[
        bool, typer.Option("--reverse", help="which releases came from it: a path, a URI, a fingerprint, NAME@v1.0.0")
    ] = False,
    openlineage: Annotated[str | None, typer.Option("--openlineage", metavar="FILE", help=_EVENTS)] = None,
    as_json: Json = False,
) -> None:
    """Show where a release comes from; with --reverse, every release that came from a source, for deletion requests."""
    from synthmill.errors import InputError
    from synthmill.lineage.family import read_family
    from synthmill.lineage.trace import trace
    from synthmill.lineage.words import lineage_json, tree_lines
    from synthmill.store.references import resolve
    from synthmill.store.workspace import find

    if openlineage == "-" and as_json:
        raise InputError("--openlineage - and --json do not go together", hint="leave one of them out")
    family = read_family(find(Path.cwd()))
    for note in family.notes:
        typer.echo(f"note: {note}", err=True)
    if reverse:
        _reverse(family, what, openlineage, as_json=as_json)
        return
    found = trace(family, resolve(family.git, what).tag)
    if openlineage is not None:
        from synthmill.lineage.openlineage import events

        _write_lines(openlineage, events(found, family))
        if openlineage == "-":
            return
    typer.echo(json.dumps(lineage_json(found)) if as_json else "\n".join(tree_lines(found)))


def _reverse(family: Family, source: str, openlineage: str | None, *, as_json: bool) -> None:
    from synthmill.lineage.reverse import find_descendants
    from synthmill.lineage.words import descent_json, descent_lines

    descent = find_descendants(family, source)
    if openlineage is not None:
        from synthmill.lineage.openlineage import events
        from synthmill.lineage.trace import trace

        told = [line for one in descent.found for line in events(trace(family, one.tag), family)]
        _write_lines(openlineage, list(dict.fromkeys(told)))
        if openlineage == "-":
            return
    if as_json:
        typer.echo(json.dumps(descent_json(descent, family)))
        return
    typer.echo("\n".join(descent_lines(descent, family)))


def _write_lines(place: str, lines: list[str]) -> None:
    text = "".join(f"{line}\n" for line in lines)
    if place == "-":
        typer.echo(text, nl=False)
        return
    from synthmill.store.files import publish_bytes

    publish_bytes(Path(place), text.encode())
    typer.echo(f"{len(lines)} events in {place}", err=True)
