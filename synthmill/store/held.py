"""The files of a release where they lie in DVC's cache, read without a checkout; what is missing there is fetched from the remote.

Nothing is linked or copied into the work tree. A release whose bytes are in neither place was purged, or its remote cannot be reached:
then `Held.files` and `Held.fetch` say so by an Unreachable, and git still tells the rest.
"""

from __future__ import annotations

import configparser
import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from synthmill.errors import ReleaseError, RunError, SynthmillError, WorkspaceError
from synthmill.store.dvc import Dvc
from synthmill.store.git import Git
from synthmill.store.lock import Progress
from synthmill.store.manifest import NAME as MANIFEST
from synthmill.store.manifest import Manifest, parse_manifest
from synthmill.store.stage import read_address
from synthmill.store.versions import Release
from synthmill.store.workspace import Workspace

Wanted = Callable[[str], bool]


class Unreachable(RunError):
    """The bytes of a release are neither in the cache nor on the remote."""


@dataclass(frozen=True, slots=True)
class Held:
    """One release's files; `address` is what its dvc.lock holds, None for a tag without one."""

    workspace: Workspace
    release: Release
    address: str | None
    say: Progress  # called where a fetch has to wait for a release that is under way

    def manifest(self) -> Manifest:
        """Its manifest, fetched where it has to be; Unreachable."""
        path = self.fetch(lambda name: name == MANIFEST).get(MANIFEST)
        if path is None:
            raise Unreachable("it has no manifest.json", where=self.release.tag)
        return parse_manifest(path.read_bytes(), f"{self.release.tag}: {MANIFEST}")

    def manifest_at_hand(self) -> Manifest | None:
        """Its manifest where the cache holds it; nothing is fetched."""
        path = self._path((self.listing_at_hand() or {}).get(MANIFEST))
        try:
            return None if path is None else parse_manifest(path.read_bytes(), MANIFEST)
        except SynthmillError:
            return None

    def listing_at_hand(self) -> Mapping[str, str] | None:
        """MD5 of every file by its path, where the cache holds the listing."""
        path = self._path(self.address)
        return None if path is None else _read_listing(path)

    def fetch(self, wanted: Wanted) -> Mapping[str, Path]:
        """Where the bytes of the wanted files lie, by their path in the dataset; Unreachable where one is nowhere."""
        if self.address is None:
            raise Unreachable("dvc.lock of its commit holds no data of it", where=self.release.tag)
        with ExitStack() as stack:
            remote = _Remote(self, stack)
            remote.bring([self.address])
            names = {path: md5 for path, md5 in (self.listing_at_hand() or {}).items() if wanted(path)}
            remote.bring(list(names.values()))
        return {path: self._place(md5) for path, md5 in names.items()}

    def lacking(self, names: Sequence[str]) -> list[str]:
        """Those objects that the cache does not hold."""
        return [name for name in dict.fromkeys(names) if self._path(name) is None]

    def _path(self, name: str | None) -> Path | None:
        place = None if name is None else self._place(name)
        return place if place is not None and place.is_file() else None

    def _place(self, name: str) -> Path:
        return _cache(self.workspace.root) / "files" / "md5" / name[:2] / name[2:]


@dataclass(slots=True)
class _Remote:
    """The remote by way of DVC, which is started once something is missing, and is asked twice at one start."""

    held: Held
    stack: ExitStack
    dvc: Dvc | None = None

    def bring(self, names: Sequence[str]) -> None:
        """Have these objects in the cache."""
        missing = self.held.lacking(names)
        if not missing:
            return
        tag = self.held.release.tag
        try:
            if self.dvc is None:
                _, self.dvc = self.stack.enter_context(self.held.workspace.lock(self.held.say))
            lacking = self.dvc.fetch(missing)
        except ReleaseError as error:
            what = f"its data is not in the cache, and the remote cannot be reached: {error.what}"
            raise Unreachable(what, where=tag) from error
        if lacking:
            what = f"{len(lacking)} of its objects are neither in the cache nor whole on the remote: purged, or never pushed"
            raise Unreachable(what, where=tag)


def hold_of(workspace: Workspace, git: Git, release: Release, say: Progress = lambda line: None) -> Held:
    """The files of a release; nothing is read or fetched yet but its commit."""
    text = (git.read(release.commit, "dvc.lock") or b"").decode()
    try:
        address = read_address(text, release.dataset)
    except WorkspaceError:  # a person's commit can hold anything
        address = None
    return Held(workspace, release, address, say)


def _cache(root: Path) -> Path:
    """DVC's cache: its default, or what `dvc cache dir` has set for this workspace."""
    folder = root / ".dvc"
    for name in ("config.local", "config"):
        parser = configparser.ConfigParser(interpolation=None, strict=False)
        try:
            parser.read_string((folder / name).read_text())
        except (OSError, configparser.Error):
            continue
        if (found := parser.get("cache", "dir", fallback=None)) is not None:
            return (folder / found.strip().strip("'\"")).resolve()
    return folder / "cache"


def _read_listing(path: Path) -> Mapping[str, str]:
    try:
        return {str(entry["relpath"]): str(entry["md5"]) for entry in json.loads(path.read_bytes())}
    except (ValueError, KeyError, TypeError) as error:
        raise Unreachable("the listing in DVC's cache is damaged", where=str(path)) from error
