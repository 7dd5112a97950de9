"""The git that a workspace needs: read blobs, build a commit beside the user's index, tag, push.

All of Synthmill's calls of the git executable are here. A commit is built in an index of our own from HEAD's tree with our
paths alone replaced, so that nothing which the user has staged or edited elsewhere is ever committed with it.
"""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from synthmill.errors import ReleaseError

_OUR_NAME = "Synthmill <synthmill@localhost>"
# Left in the environment by a git hook, they would point us at another repository or at the user's index.
_FOREIGN = ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_PREFIX", "GIT_OBJECT_DIRECTORY", "GIT_COMMON_DIR")
# DESIGN's second law needs an fsync of what git writes; a detached gc would keep the inherited lock for its whole life.
_SETTINGS = ("-c", "core.fsync=all", "-c", "gc.auto=0", "-c", "maintenance.auto=false", "-c", "core.quotePath=false")
_INDEX_LOCK_WAIT_S = 10.0
_BRANCH_LOCK_S = 1.0  # git holds the lock of a ref for as long as it takes to write 41 bytes


@dataclass(frozen=True, slots=True)
class Git:
    """The repository whose top folder is `root`; `lock_fd` is the workspace lock that every child inherits."""

    root: Path
    lock_fd: int | None = None
    author: str = _OUR_NAME

    def run(
        self,
        *arguments: str,
        stdin: bytes | None = None,
        env: Mapping[str, str] | None = None,
        timeout_s: float | None = None,
    ) -> str:
        """Standard output of `git ARGUMENTS`, stripped; ReleaseError with git's own last words where it fails."""
        done = self._start(*arguments, stdin=stdin, env=env, timeout_s=timeout_s)
        if done.returncode != 0:
            words = done.stderr.decode(errors="replace").strip().splitlines() or [f"exit code {done.returncode}"]
            reason = next((line for line in words if line.startswith(("fatal:", "error:"))), words[-1])
            raise ReleaseError(
                f"git {arguments[0]} failed: {reason}", where=str(self.root), hint="\n  ".join(words[-4:])
            )
        return done.stdout.decode().strip()

    def answer(self, *arguments: str) -> str | None:
        """Like `run`, but a question: None where git says no."""
        done = self._start(*arguments)
        return done.stdout.decode().strip() if done.returncode == 0 else None

    def head(self) -> str | None:
        """The commit that HEAD names, None in a repository without one."""
        return self.answer("rev-parse", "--verify", "--quiet", "HEAD^{commit}")

    def read(self, revision: str | None, path: str) -> bytes | None:
        """The bytes of `path` at a revision (in the user's index where it is ""), None where it is not there."""
        if revision is None:
            return None
        done = self._start("cat-file", "blob", f"{revision}:{path}")
        return done.stdout if done.returncode == 0 else None

    def read_many(self, places: Sequence[str]) -> list[bytes | None]:
        """The bytes at each of `places` (REVISION:PATH) from one git process, however many there are; None where nothing is."""
        if not places:
            return []
        stdin = "".join(f"{place}\n" for place in places).encode()
        answer = io.BytesIO(self._start("cat-file", "--batch", stdin=stdin).stdout)
        found: list[bytes | None] = []
        for head in iter(answer.readline, b""):
            if head.endswith(b" missing\n"):
                found.append(None)
            else:
                found.append(answer.read(int(head.split()[2])))
                answer.readline()
        return found

    def unmerged(self, paths: Sequence[str]) -> list[str]:
        """Those of `paths` that a merge has left in conflict."""
        lines = self.run("ls-files", "--unmerged", "--", *paths).splitlines()
        return sorted({line.partition("\t")[2] for line in lines})

    def git_path(self, name: str) -> Path:
        """Where git keeps one of its own files, linked work trees included."""
        return self.root / self.run("rev-parse", "--git-path", name)

    def commit(self, files: Mapping[str, bytes], parent: str | None, message: str) -> str:
        """A commit on top of `parent` in which `files` alone are replaced; no ref names it yet."""
        index = self.git_path("synthmill-index")
        index.unlink(missing_ok=True)
        private = {"GIT_INDEX_FILE": str(index)}
        self.run("read-tree", parent or "--empty", env=private)
        self.run("update-index", "--index-info", stdin=self._entries(files), env=private)
        tree = self.run("write-tree", env=private)
        index.unlink()
        above = ("-p", parent) if parent else ()
        return self.run("commit-tree", tree, *above, "-m", message, env=self._identity())

    def advance(self, new: str, old: str | None, reason: str) -> bool:
        """Move the branch from `old` to `new`; False where somebody else has moved it meanwhile."""
        note = self.git_path("synthmill-advance")
        note.touch()
        try:
            self.run("update-ref", "-m", f"synthmill: {reason}", "HEAD", new, old or "")
        except ReleaseError:
            if self.head() != old:
                return False
            raise
        finally:
            note.unlink()
        return True

    def stage(self, files: Mapping[str, bytes]) -> None:
        """Bring the user's index in line for `files`, and leave everything else in it as it is.

        It works under git's own index.lock. That lock is a hard link of a file of ours, so that one left by a killed run
        can be told from the lock of a user's git (`drop_stale_locks`).
        """
        index, lock, ours = (self.git_path(name) for name in ("index", "index.lock", "synthmill-marker"))
        draft = self.git_path("synthmill-index")
        ours.touch()
        self._take_index_lock(ours, lock)
        try:
            draft.unlink(missing_ok=True)
            if index.exists():
                shutil.copyfile(index, draft)
            env = {"GIT_INDEX_FILE": str(draft)}
            self.run("update-index", "--index-info", stdin=self._entries(files), env=env)
            self._start("update-index", "-q", "--refresh", env=env)  # 1 where the user has edits: not our affair
            draft.replace(index)
        finally:
            lock.unlink()
            ours.unlink()

    def drop_stale_locks(self) -> None:
        """Remove what a killed run of ours left; call it with the workspace lock, when no child of ours lives."""
        lock, ours = self.git_path("index.lock"), self.git_path("synthmill-marker")
        if lock.exists() and ours.exists() and lock.samefile(ours):
            lock.unlink()
        for name in ("synthmill-marker", "synthmill-index", "synthmill-index.lock"):
            self.git_path(name).unlink(missing_ok=True)
        # Nobody but Synthmill, under the lock we hold, writes these refs.
        tags, own = self.git_path("refs/tags"), self.git_path("refs/synthmill")
        for left in (*tags.glob("*@v*.lock"), *tags.glob("*#*.lock"), *own.rglob("*.lock")):
            left.unlink()
        self._drop_branch_locks()

    def tag(self, name: str, commit: str) -> None:
        """An annotated tag (GTO and DVC do not see a lightweight one)."""
        self.run("tag", "--annotate", name, commit, "-m", name, env=self._identity())

    def write_tag(self, name: str, commit: str, message: str, time_s: int) -> str:
        """An annotated tag as an object that no ref names yet: a remote can have it before anybody here sees it."""
        env = {**self._identity(), "GIT_COMMITTER_DATE": f"{time_s} +0000"}
        tagger = self.run("var", "GIT_COMMITTER_IDENT", env=env)
        content = f"object {commit}\ntype commit\ntag {name}\ntagger {tagger}\n\n{message}\n"
        return self.run("mktag", stdin=content.encode())

    def put_ref(self, ref: str, target: str) -> bool:
        """Make a ref; False where there is one of that name already."""
        try:
            self.run("update-ref", ref, target, "")
        except ReleaseError:
            if self.answer("rev-parse", "--verify", "--quiet", ref) is None:
                raise
            return False
        return True

    def fetch(self, remote: str, *refs: str, timeout_s: float) -> None:
        """Bring refs (patterns with one `*`) from the remote under the same names; ReleaseError where it has others of that name."""
        self.run("fetch", "--no-tags", remote, *(f"{ref}:{ref}" for ref in refs), timeout_s=timeout_s)

    def push(self, remote: str, *refspecs: str) -> None:
        """All of them or none."""
        self.run("push", "--atomic", "--quiet", remote, *refspecs)

    def remote(self) -> str | None:
        """The git remote to push to: the branch's own, else `origin`, else the only one; None where there is none."""
        branch = self.answer("symbolic-ref", "--quiet", "--short", "HEAD")
        own = self.answer("config", f"branch.{branch}.remote") if branch else None
        names = self.run("remote").splitlines()
        if own in names:
            return own
        return "origin" if "origin" in names else names[0] if len(names) == 1 else None

    def publish(self, tag: str) -> None:
        """Push the branch and the tag, both or neither, where there is a remote; once, so that a later run needs no network."""
        remote, pushed = self.remote(), f"refs/synthmill/pushed/{tag}"
        if remote is None or self.answer("rev-parse", "--verify", "--quiet", pushed):
            return
        branch = self.answer("symbolic-ref", "--quiet", "HEAD")
        refs = [f"HEAD:{branch}"] if branch else []
        self.run("push", "--atomic", "--quiet", remote, *refs, f"refs/tags/{tag}")
        self.run("update-ref", pushed, f"refs/tags/{tag}")

    def _drop_branch_locks(self) -> None:
        """Where a run died as it moved the branch: a lock made since, and still there when any git would be done, is its own."""
        note = self.git_path("synthmill-advance")
        if not note.exists():
            return
        for ref in ("HEAD", self.answer("symbolic-ref", "--quiet", "HEAD") or "HEAD"):
            lock = self.git_path(f"{ref}.lock")
            if lock.exists() and lock.stat().st_mtime_ns >= note.stat().st_mtime_ns:
                inode = lock.stat().st_ino
                time.sleep(_BRANCH_LOCK_S)
                if lock.exists() and lock.stat().st_ino == inode:
                    lock.unlink()
        note.unlink()

    def _take_index_lock(self, ours: Path, lock: Path) -> None:
        deadline = time.monotonic() + _INDEX_LOCK_WAIT_S
        while True:
            try:
                os.link(ours, lock)
            except FileExistsError:
                if time.monotonic() > deadline:
                    ours.unlink()
                    raise ReleaseError(
                        "another git process holds the index",
                        where=str(lock),
                        hint="Wait for it; if no git runs here, remove that file. Then run again.",
                    ) from None
                time.sleep(0.05)
            else:
                return

    def _entries(self, files: Mapping[str, bytes]) -> bytes:
        """Lines for `update-index --index-info`, with the blobs written."""
        hashes = {path: self.run("hash-object", "-w", "--stdin", stdin=content) for path, content in files.items()}
        return "".join(f"100644 {blob}\t{path}\n" for path, blob in hashes.items()).encode()

    def _identity(self) -> dict[str, str]:
        """Nothing where git knows who commits; else the workspace's author, so that a bare machine can release."""
        if self.answer("-c", "user.useConfigOnly=true", "var", "GIT_COMMITTER_IDENT"):
            return {}
        name, _, mail = self.author.rstrip(">").partition(" <")
        return {
            f"GIT_{role}_{part}": text
            for role in ("AUTHOR", "COMMITTER")
            for part, text in (("NAME", name), ("EMAIL", mail))
        }

    def _start(
        self,
        *arguments: str,
        stdin: bytes | None = None,
        env: Mapping[str, str] | None = None,
        timeout_s: float | None = None,
    ) -> subprocess.CompletedProcess[bytes]:
        kept = {name: value for name, value in os.environ.items() if name not in _FOREIGN}
        try:
            return subprocess.run(
                ["git", *_SETTINGS, *arguments],
                cwd=self.root,
                env={**kept, "GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C", **(env or {})},
                input=stdin or b"",
                capture_output=True,
                pass_fds=() if self.lock_fd is None else (self.lock_fd,),
                check=False,
                timeout=timeout_s,
            )
        except subprocess.TimeoutExpired as error:
            what = f"git {arguments[0]} got no answer in {timeout_s:.0f} s"
            raise ReleaseError(what, where=str(self.root), hint="Look at the network and the git remote.") from error
        except FileNotFoundError as error:
            raise ReleaseError("git is not installed", hint="Install git, and see that it is on PATH.") from error
