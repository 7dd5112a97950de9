"""The branch of a git remote that releases go to: what it holds, and pushing a commit and tags to it, all or nothing.

What the remote's tags were when we last asked is kept under refs/synthmill/pushed/, where nobody else looks: so a tag of the remote
never overwrites one that was made here, and a tag which never reached the remote is known.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from synthmill.errors import ReleaseError
from synthmill.store.git import Git

_ATTEMPTS = 4
_PAUSE_S = 0.5  # before the second attempt; doubled before each further one
_TIMEOUT_S = 600.0
_SEEN = "refs/synthmill/pushed"


@dataclass(frozen=True, slots=True)
class Upstream:
    """Where the branch of this workspace is pushed to."""

    git: Git
    remote: str
    branch: str | None  # its full name there; None where HEAD is on no branch

    def fetch(self, *, attempts: int = _ATTEMPTS) -> str | None:
        """Bring in branches and tags; the commit at the tip of our branch there, None where it has none.

        ReleaseError where the remote does not answer, or where one tag names two things.
        """
        refspecs = (f"+refs/heads/*:refs/remotes/{self.remote}/*", f"+refs/tags/*:{_SEEN}/*")
        command = ("fetch", "--quiet", "--no-tags", "--prune", self.remote, *refspecs)
        for attempt in range(attempts):
            try:
                with self.git.moving_refs():
                    self.git.run(*command, timeout_s=_TIMEOUT_S)
            except ReleaseError:
                if attempt == attempts - 1:
                    raise
                _pause(attempt)
            else:
                break
        self._take_tags()
        return self.tip

    @property
    def tip(self) -> str | None:
        """The commit at the tip of our branch there, as of the last fetch."""
        if self.branch is None:
            return None
        ref = f"refs/remotes/{self.remote}/{self.branch.removeprefix('refs/heads/')}"
        return self.git.answer("rev-parse", "--verify", "--quiet", f"{ref}^{{commit}}")

    def unpushed(self, is_ours: Callable[[str], bool]) -> dict[str, str]:
        """Tags of ours that the remote did not have at the last fetch: name -> object."""
        seen = self.git.refs(_SEEN)
        return {name: tag for name, tag in self.git.refs("refs/tags").items() if is_ours(name) and name not in seen}

    def has(self, name: str, tag: str) -> bool:
        """Whether the remote had this tag at the last fetch, and not another of its name."""
        return self.git.refs(_SEEN).get(name) == tag

    def push(self, commit: str | None, tags: Mapping[str, str]) -> bool:
        """Have `commit`, where there is one, as the tip of the branch, and the tags (name -> object); False where somebody was faster.

        A refusal counts as that when the remote has changed since the last fetch; else it is tried again, and then an error.
        """
        refs = [f"{commit}:{self.branch}"] if commit and self.branch else []
        refs += [f"{tag}:refs/tags/{name}" for name, tag in tags.items()]
        before = self._seen()
        for attempt in range(_ATTEMPTS):
            try:
                with self.git.moving_refs():
                    self.git.run("push", "--atomic", "--quiet", self.remote, *refs)
            except ReleaseError:
                self.fetch()
                if self._holds(commit, tags):
                    return True  # it was done, and the answer was lost
                if self._seen() != before:
                    return False
                if attempt == _ATTEMPTS - 1:
                    raise
                _pause(attempt)
            else:
                break
        self._see(commit, tags)
        return True

    def _holds(self, commit: str | None, tags: Mapping[str, str]) -> bool:
        seen = self.git.refs(_SEEN)
        is_there = commit is None or self.branch is None or (self.tip and self.git.is_ancestor(commit, self.tip))
        return bool(is_there) and all(seen.get(name) == tag for name, tag in tags.items())

    def _see(self, commit: str | None, tags: Mapping[str, str]) -> None:
        """Note what we pushed, as a fetch would."""
        seen = {f"{_SEEN}/{name}": tag for name, tag in tags.items()}
        if commit and self.branch:
            seen[f"refs/remotes/{self.remote}/{self.branch.removeprefix('refs/heads/')}"] = commit
        self.git.set_refs(seen)

    def _seen(self) -> tuple[str | None, dict[str, str]]:
        return self.tip, self.git.refs(_SEEN)

    def _take_tags(self) -> None:
        """Give the remote's tags their names here; ReleaseError where a name is taken by something else."""
        here, there = self.git.refs("refs/tags"), self.git.refs(_SEEN)
        self.git.set_refs({f"refs/tags/{name}": tag for name, tag in there.items() if name not in here})
        for name, tag in there.items():
            if "@v" in name and here.get(name, tag) != tag:
                raise ReleaseError(
                    f"the tag {name} names one release here and another one on {self.remote}",
                    where=str(self.git.root),
                    hint=f"that of the remote is what others see: `git tag -d {name}` gives yours up; then run again",
                )


def find_upstream(git: Git) -> Upstream | None:
    """The remote that this branch is pushed to: its own, else `origin`, else the only one; None where there is none."""
    head = git.answer("symbolic-ref", "--quiet", "HEAD")
    short = head.removeprefix("refs/heads/") if head else None
    own = git.answer("config", f"branch.{short}.remote") if short else None
    names = git.run("remote").splitlines()
    if own in names:
        return Upstream(git, str(own), git.answer("config", f"branch.{short}.merge") or head)
    name = "origin" if "origin" in names else names[0] if len(names) == 1 else None
    return None if name is None else Upstream(git, name, head)


def _pause(attempt: int) -> None:
    time.sleep(_PAUSE_S * 2**attempt * random.uniform(0.5, 1))
