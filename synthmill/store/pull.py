"""Bring the rows of a release into a folder: exactly what was released, whole or not at all, and never over a person's files.

What is right is decided by git alone: the tag's commit holds the content address of the folder in dvc.lock.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from synthmill.errors import InputError, ReleaseError, StorageError
from synthmill.store.dvc import Dvc
from synthmill.store.files import locked, publish_bytes, publish_folder, storage_errors
from synthmill.store.git import Git
from synthmill.store.lock import Progress
from synthmill.store.manifest import check
from synthmill.store.objects import read_tree
from synthmill.store.references import resolve, split_reference, yanked
from synthmill.store.stage import read_address
from synthmill.store.stage_steps import refresh
from synthmill.store.tombstones import read_tombstones
from synthmill.store.versions import Release
from synthmill.store.workspace import Workspace

FOLDER = "pulled"  # in the workspace; git does not see what is in it


@dataclass(frozen=True, slots=True)
class Pulled:
    """A release in a folder; `reason` says why it is yanked, where it is."""

    release: Release
    path: Path
    reason: str | None
    is_new: bool  # False where the same bytes lay there already


def pull(workspace: Workspace, text: str, folder: Path | None, progress: Progress) -> Pulled:
    """The release that `text` names, in `folder` (default: pulled/NAME-VERSION in the workspace).

    InputError where other files are in the way; ReleaseError where neither cache nor remote has all of it whole.
    """
    git = Git(workspace.root)
    dataset, _ = split_reference(text)
    try:
        refresh(git, dataset)
    except ReleaseError as error:
        progress(f"note: {error.what}; going by the tags that are here")
    release = resolve(git, text)
    if tombstone := read_tombstones(git, release.dataset).get(release.tag):
        raise ReleaseError(str(tombstone), hint="its bytes are gone for good; `synthmill releases` lists the others")
    reason = yanked(git, release.dataset).get(release.version)
    address = read_address((git.read(release.commit, "dvc.lock") or b"").decode(), release.dataset)
    if address is None:
        hint = "the tag was not made by a release; name another version"
        raise InputError("the tagged commit has no rows of that dataset in its dvc.lock", where=release.tag, hint=hint)
    path = workspace.root / FOLDER / f"{release.dataset}-{release.version}" if folder is None else folder.absolute()
    if folder is None:
        _hide_from_git(path.parent)
    lock = workspace.root / ".synthmill" / "locks" / f"pull-{sha256(str(path).encode()).hexdigest()[:16]}"
    with locked(lock, "another pull writes to this folder"):
        is_new = not _is_there(path, address, release)
        if is_new:
            _bring(workspace, release, address, path, progress)
    return Pulled(release, path, reason, is_new)


def _is_there(path: Path, address: str, release: Release) -> bool:
    if not path.exists() or (path.is_dir() and not any(path.iterdir())):
        return False
    if path.is_dir() and read_tree(path).address == address:
        return True
    hint = "nothing was touched; name a new folder with --to, or move that one away"
    raise InputError(f"something else than {release.tag} lies there", where=str(path), hint=hint)


def _bring(workspace: Workspace, release: Release, address: str, path: Path, progress: Progress) -> None:
    aside = path.with_name(f".tmp-pull-{path.name}")
    with storage_errors(path):
        shutil.rmtree(aside, ignore_errors=True)  # of a killed pull: the lock of this folder is ours
        aside.mkdir(parents=True)
    try:
        progress(f"pull: {release.tag}")
        _export(workspace, release, address, aside)
        if wrong := list(check(aside)):
            what = f"{release.tag} is not what its manifest says: {'; '.join(wrong[:5])}"
            raise StorageError(what, where=release.tag, hint="It was released so. Yank it, and release it again.")
        made = aside.stat().st_ino
        publish_folder(aside, path)
        if path.stat().st_ino != made:
            raise InputError("a folder appeared there meanwhile", where=str(path), hint="nothing in it was touched")
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _export(workspace: Workspace, release: Release, address: str, to: Path) -> None:
    try:
        with Dvc(workspace.root, None) as dvc:
            dvc.export(address, to)
    except ReleaseError as error:
        hint = "Nothing was written. Mend what it names; `dvc remote list` says where the remote is."
        raise ReleaseError(f"{release.tag} could not be fetched: {error.what}", where=error.where, hint=hint) from error


def _hide_from_git(folder: Path) -> None:
    if not (folder / ".gitignore").exists():
        publish_bytes(folder / ".gitignore", b"*\n")
