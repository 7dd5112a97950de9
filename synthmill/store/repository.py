"""The repository that a consumer names, by path or by git URL, and the release that a reference means in it.

A workspace on this machine is asked itself. Of a URL a mirror is kept in the consumer's cache: a version that is in it needs no
network, and the mirror is brought up to date for a stage or a latest release, for a version that it does not hold, and once a day,
so that a yank is heard of.
"""

from __future__ import annotations

import logging
import shutil
import time
from dataclasses import dataclass
from pathlib import Path

from synthmill.errors import InputError, ReleaseError
from synthmill.fingerprint import fingerprint
from synthmill.store.files import aside_of, waiting_for
from synthmill.store.git import Git
from synthmill.store.references import resolve, split_reference, yanked
from synthmill.store.versions import Release, parse_version
from synthmill.store.workspace import find

_PURGED = "purged: "  # how the message of a purged version's tag begins
_FRESH_S = 86_400.0
_FETCH_S = 60.0  # a network that swallows everything must not hold up a job whose release is here

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Found:
    """A release, the git that told of it, and where DVC gets it: `url` with the release's commit."""

    release: Release
    git: Git
    url: str

    @property
    def yank(self) -> str | None:
        """Why the version is yanked, None where it is not."""
        return yanked(self.git, self.release.dataset).get(self.release.version)


def find_release(reference: str, repo: str, cache: Path) -> Found:
    """What `reference` means in `repo`; InputError where there is none, or where it was purged. ReleaseError where git fails."""
    path = Path(repo)
    if path.is_dir() and not (path / "HEAD").is_file():  # a bare repository is cloned like a URL
        root = find(path).root
        git = Git(root)
        found = Found(resolve(git, reference), git, str(root))
    else:
        found = _find_in_mirror(reference, repo, cache / "repositories" / fingerprint("repository", {"url": repo}))
    reason = found.yank
    if reason is not None and reason.startswith(_PURGED):
        what = f"{found.release.tag} was purged: {reason.removeprefix(_PURGED)}"
        raise InputError(what, where=reference, hint="pin another version; `synthmill releases` lists them")
    return found


def _find_in_mirror(reference: str, url: str, mirror: Path) -> Found:
    with waiting_for(mirror.with_suffix(".lock")):
        if not mirror.is_dir():
            _clone(url, mirror)
            return _resolved(reference, mirror)
        point = split_reference(reference)[1]
        is_pinned = point is not None and parse_version(point) is not None
        try:
            held = _resolved(reference, mirror)
        except InputError:
            held = None
        if held is not None and is_pinned and time.time() - _stamp(mirror).stat().st_mtime < _FRESH_S:
            return held
        _stamp(mirror).touch()  # an attempt that fails is not repeated by each run of this day
        try:
            Git(mirror).run("fetch", "--quiet", "--prune", timeout_s=_FETCH_S)
        except ReleaseError as error:
            if held is None:
                raise _unreachable(url, error) from error
            log.warning("%s cannot be reached; %s is what this machine last heard of it", url, held.release.tag)
            return held
        return _resolved(reference, mirror)


def _resolved(reference: str, mirror: Path) -> Found:
    git = Git(mirror)
    return Found(resolve(git, reference), git, mirror.as_uri())


def _clone(url: str, mirror: Path) -> None:
    aside = aside_of(mirror)
    try:
        Git(mirror.parent).run("clone", "--quiet", "--mirror", "--", url, str(aside))
        _stamp(aside).touch()
        aside.rename(mirror)
    except ReleaseError as error:
        raise _unreachable(url, error) from error
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _unreachable(url: str, error: ReleaseError) -> InputError:
    hint = "give the path of a workspace, or the URL of its git repository, which this machine may read"
    return InputError(f"no repository to load from: {error.what}", where=url, hint=hint)


def _stamp(mirror: Path) -> Path:
    """Its age is how long ago the mirror was brought up to date."""
    return mirror / "synthmill-fetched"
