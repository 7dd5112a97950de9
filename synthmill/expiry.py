"""What can go: work in state that nobody has used for a while, and objects that nothing names. Found first, removed when it is meant.

Use is the last time that a file was written or read, as the file system tells it. What a younger candidate, or the next warm start,
goes on from is kept whatever its age.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from synthmill.console import Reporter
from synthmill.errors import BusyError, StorageError
from synthmill.store.ancestors import next_ancestors
from synthmill.store.dvc import Dvc, Side
from synthmill.store.files import locked, storage_errors
from synthmill.store.git import Git
from synthmill.store.lock import ShouldStop
from synthmill.store.purge import fetch_tags
from synthmill.store.state import State
from synthmill.store.unnamed import find_unnamed
from synthmill.store.workspace import Workspace
from synthmill.usage import Usage, read_usage

_DAY_S = 86_400.0


@dataclass(frozen=True, slots=True)
class Lot:
    """Things of one kind that go for one reason: paths in state, or objects of a store."""

    what: str
    why: str
    size_bytes: int
    paths: tuple[Path, ...] = ()
    objects: tuple[str, ...] = ()
    side: Side = "cache"

    @property
    def count(self) -> int:
        """How many."""
        return len(self.paths) + len(self.objects)


def collect(
    workspace: Workspace, days: float, reporter: Reporter, should_stop: ShouldStop, *, with_remote: bool, is_meant: bool
) -> tuple[list[Lot], list[str]]:
    """What goes, and what was left alone and why; removed once it `is_meant`. Held by the workspace lock, so between releases."""
    before, lots, notes = time.time() - days * _DAY_S, list[Lot](), list[str]()
    state = State(workspace.state)
    with workspace.lock(reporter.say, should_stop) as (git, dvc), ExitStack() as stack:
        try:
            stack.enter_context(locked(state.in_use, "a run works in this state"))
            lots += _in_state(state, git, before, f"not used for {days:g} days")
        except BusyError as error:
            notes.append(f"state is left alone: {error.what}")
        sides: tuple[Side, ...] = ("cache", "remote") if with_remote else ("cache",)
        if with_remote:
            fetch_tags(git)
        for side in sides:
            try:
                lots += _in_store(workspace.root, git, dvc, side, before)
            except StorageError as error:
                notes.append(f"the {side} is left alone: {error}")
        for lot in lots if is_meant else ():
            _remove(lot, dvc)
    return lots, notes


def _in_state(state: State, git: Git, before: float, why: str) -> Iterator[Lot]:
    folders = {name: state.root / name for name in ("candidates", "models", "checkpoints", "shards", "sources")}
    folders["measurements"] = state.measurements
    young = [path.name for path in _entries(folders["candidates"]) if _last_use(path) >= before]
    kept = _kept(state, git, young)
    needed = {"candidates": {*young}, "models": kept.models, "shards": kept.shards, "sources": kept.sources}
    needed["checkpoints"] = {f"{name}.safetensors" for name in kept.models}
    for what, folder in folders.items():
        old = [path for path in _entries(folder) if path.name not in needed.get(what, ()) and _last_use(path) < before]
        if old:
            yield Lot(what, why, sum(file.stat().st_size for path in old for file in _files(path)), tuple(old))


def _kept(state: State, git: Git, candidates: list[str]) -> Usage:
    ancestors = next_ancestors(git)
    kept = Usage(frozenset(link.model for link in ancestors), frozenset(link.source for link in ancestors))
    for plan in candidates:
        kept |= read_usage(state, plan)
    return kept


def _in_store(root: Path, git: Git, dvc: Dvc, side: Side, before: float) -> Iterator[Lot]:
    found = find_unnamed(root, git, dvc, side, before)
    if found:
        size_bytes = sum(stored.size for stored in found.values())
        why = "no tag, branch or work tree names them"
        yield Lot(f"objects in the {side}", why, size_bytes, objects=tuple(sorted(found)), side=side)


def _remove(lot: Lot, dvc: Dvc) -> None:
    for path in lot.paths:
        with storage_errors(path):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    if lot.objects:  # a folder's listing first: with it, DVC believes that the files are there
        dvc.remove(lot.side, sorted(lot.objects, key=lambda name: not name.endswith(".dir")))


def _entries(folder: Path) -> list[Path]:
    return sorted(folder.iterdir()) if folder.is_dir() else []


def _files(path: Path) -> list[Path]:
    return [file for file in path.rglob("*") if file.is_file()] if path.is_dir() else [path]


def _last_use(path: Path) -> float:
    """Seconds since 1970; of an empty folder, when it was made."""
    statuses = [file.stat() for file in _files(path) or [path]]
    return max(max(status.st_mtime, status.st_atime) for status in statuses)
