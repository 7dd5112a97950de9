"""The commands that keep releases whole, take one away for good, and make room: verify, purge, gc."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from synthmill.store.purge import Purge
    from synthmill.store.tombstones import Tombstone
    from synthmill.store.verification import Findings

commands = typer.Typer()

Json = Annotated[bool, typer.Option("--json", help="print one JSON object on stdout")]


@commands.command()
def verify(
    what: Annotated[
        str | None,
        typer.Argument(
            help="a folder, such as datasets/fair, or a release, fair@v1.0.0 or fair@prod; default: every release"
        ),
    ] = None,
    cache: Annotated[bool, typer.Option("--cache", help="of releases: this side alone")] = False,
    remote: Annotated[bool, typer.Option("--remote", help="of releases: the DVC remote alone")] = False,
    sizes_only: Annotated[
        bool, typer.Option("--sizes-only", help="do not read the remote's data, ask its sizes")
    ] = False,
    repair: Annotated[bool, typer.Option("--repair", help="bring what is damaged from the other side")] = False,
    as_json: Json = False,
) -> None:
    """Re-hash releases in the cache and on the remote, or a folder against its manifest; exit code 1 when something is wrong."""
    if what is not None and _is_folder(what):
        _verify_folder(Path(what), as_json=as_json)
        return
    from synthmill.console import reporting
    from synthmill.stop import StopFlag
    from synthmill.store.git import Git
    from synthmill.store.holdings import BOTH
    from synthmill.store.references import resolve
    from synthmill.store.verification import Question
    from synthmill.store.verification import verify as look
    from synthmill.store.versions import read_releases
    from synthmill.store.workspace import find

    workspace, stop = find(Path.cwd()), StopFlag()
    git = Git(workspace.root)
    releases = read_releases(git) if what is None else [resolve(git, what)]
    asked = {"cache": cache, "remote": remote}
    sides = tuple(side for side in BOTH if asked[side] or not any(asked.values()))
    question = Question(sides=sides, sizes_only=sizes_only, repair=repair)
    with reporting() as reporter, stop.listening():
        findings = look(workspace, releases, question, reporter, stop)
    _show_findings(findings, is_repaired=repair, as_json=as_json)


@commands.command()
def purge(
    releases: Annotated[list[str], typer.Argument(help="every release whose bytes are to go: fair@v1.0.0 ...")],
    reason: Annotated[str, typer.Option("--reason", help="why; it is kept in git for good")],
    yes: Annotated[
        bool, typer.Option("--yes", help="do it: nothing brings it back. Without: only show what would go")
    ] = False,
    as_json: Json = False,
) -> None:
    """Delete releases for good, here and on the remote, for a deletion request. Their tags stay, and say why."""
    from synthmill.console import reporting
    from synthmill.purging import purge as take_away
    from synthmill.stop import StopFlag
    from synthmill.store.workspace import find

    stop = StopFlag()
    with reporting() as reporter, stop.listening():
        found, tombstones = take_away(find(Path.cwd()), releases, reason, reporter, stop, is_meant=yes)
    _show_purge(found, tombstones, as_json=as_json)


def _show_purge(found: Purge, tombstones: Sequence[Tombstone], *, as_json: bool) -> None:
    from synthmill.console import size, table

    sides = {side: (len(there), sum(there.values())) for side, there in found.present.items()}
    if as_json:
        content = {
            "releases": found.tags,
            "is_done": bool(tombstones),
            "objects": {side: {"count": count, "size_bytes": whole} for side, (count, whole) in sides.items()},
            "files": [str(path) for path in (*found.placed, *found.state)],
            "shared": found.shared,
            "notes": found.notes,
        }
        typer.echo(json.dumps(content))
        return
    rows = [(f"objects in the {side}", f"{count:,}", size(size_bytes)) for side, (count, size_bytes) in sides.items()]
    rows += [("files in datasets/", f"{len(found.placed):,}", ""), ("folders in state", f"{len(found.state):,}", "")]
    typer.echo("\n".join(table(("what", "how many", "bytes"), rows)))
    for path, sharers in found.shared.items():
        typer.echo(f"stays: {path}, which {', '.join(sharers)} has too")
    for note in found.notes:
        typer.echo(f"note: {note}")
    for tombstone in tombstones:
        typer.echo(str(tombstone))
    if not tombstones:
        typer.echo("nothing was deleted; --yes deletes it for good, and nothing brings it back", err=True)


@commands.command()
def gc(
    days: Annotated[float, typer.Option("--days", min=0, help="keep what was used, or written, since")] = 30.0,
    remote: Annotated[
        bool, typer.Option("--remote", help="the DVC remote too: only where no other repository pushes to it")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="do it. Without: only show what would go")] = False,
    as_json: Json = False,
) -> None:
    """Make room: old work in state, and objects that nothing names. No release loses a byte."""
    from synthmill.console import reporting, size, table
    from synthmill.expiry import collect
    from synthmill.stop import StopFlag
    from synthmill.store.workspace import find

    stop = StopFlag()
    with reporting() as reporter, stop.listening():
        lots, notes = collect(find(Path.cwd()), days, reporter, stop, with_remote=remote, is_meant=yes)
    if as_json:
        found = [
            {"what": lot.what, "count": lot.count, "size_bytes": lot.size_bytes, "why": lot.why}
            | {"names": [*map(str, lot.paths), *lot.objects]}
            for lot in lots
        ]
        typer.echo(json.dumps({"is_done": yes, "lots": found, "notes": notes}))
        return
    for note in notes:
        typer.echo(f"note: {note}", err=True)
    if lots:
        rows = [(lot.what, f"{lot.count:,}", size(lot.size_bytes), lot.why) for lot in lots]
        typer.echo("\n".join(table(("what", "how many", "bytes", "why"), rows)))
    whole = size(sum(lot.size_bytes for lot in lots))
    typer.echo(f"{whole} are free now" if yes else f"nothing was deleted; --yes frees {whole}", err=True)


def _is_folder(what: str) -> bool:
    return "@" not in what and (Path(what).is_dir() or "/" in what)


def _verify_folder(folder: Path, *, as_json: bool) -> None:
    from synthmill.errors import StorageError
    from synthmill.store.manifest import RESTORE, check, read_manifest

    manifest, wrong = read_manifest(folder), list(check(folder))
    if as_json:
        typer.echo(json.dumps({"dataset": manifest.dataset, "rows": manifest.rows, "wrong": wrong}))
    if wrong:
        raise StorageError("; ".join(wrong), where=str(folder), hint=RESTORE)
    if not as_json:
        typer.echo(
            f"{manifest.dataset}: {len(manifest.files)} files and {manifest.rows:,} rows are what the manifest says"
        )


def _show_findings(findings: Findings, *, is_repaired: bool, as_json: bool) -> None:
    from dataclasses import asdict

    from synthmill.console import size
    from synthmill.errors import StorageError

    if as_json:
        typer.echo(json.dumps(asdict(findings)))
    for tombstone in findings.purged:
        typer.echo(f"note: {tombstone}", err=True)
    if findings.absent:
        typer.echo(f"note: {findings.absent:,} objects are not in this cache; the remote has them", err=True)
    for fault in findings.faults if not as_json else ():
        typer.echo(str(fault))
    if findings.open_faults:
        what = (
            f"{len(findings.open_faults):,} of {len(findings.faults):,} faults are not mended"
            if is_repaired
            else (f"{len(findings.open_faults):,} faults")
        )
        hint = (
            "no other side has them whole: look in another clone's cache, or release again"
            if is_repaired
            else ("`synthmill verify --repair` brings what is damaged from the other side")
        )
        raise StorageError(f"{what} in {len(findings.releases):,} releases", hint=hint)
    if not as_json:
        read = f"{findings.objects:,} objects, {size(findings.size_bytes)}"
        count = len(findings.releases)
        typer.echo(f"{count:,} {'release is' if count == 1 else 'releases are'} whole: {read} read")
