"""The git that a workspace needs: read blobs, build a commit beside the user's index, tag.

All of Synthmill's calls of the git executable are here. A commit is built in an index of our own from HEAD's tree with our
paths alone replaced, so that nothing which the user has staged or edited elsewhere is ever committed with it.
"""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
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
_NO_BLOB = "0" * 40


@dataclass(frozen=True, slots=True)
class Entry:
    """A path in a tree or an index: its mode ("100644") and the id of its blob; both empty where it is not there."""

    path: str
    mode: str
    blob: str

    @property
    def is_file(self) -> bool:
        """It is neither absent nor a link to a file or to another repository."""
        return self.mode.startswith("100")


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
            reason = next((line for line in words if line.startswith(("fatal:", "error:", "remote: "))), words[-1])
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

    def is_ancestor(self, one: str, other: str) -> bool:
        """Whether `other` holds everything that `one` does."""
        return self._start("merge-base", "--is-ancestor", one, other).returncode == 0

    def changes(self, old: str, new: str) -> list[tuple[Entry, Entry]]:
        """Every path in which two commits differ, as it is in the one and in the other."""
        fields = self.run("diff-tree", "-r", "-z", "--raw", "--no-renames", old, new).split("\0")
        found = []
        for head, path in zip(fields[::2], fields[1::2], strict=False):
            modes, blobs = head.lstrip(":").split(" ")[:2], head.split(" ")[2:4]
            was, now = (
                Entry(path, "", "") if blob == _NO_BLOB else Entry(path, mode, blob)
                for mode, blob in zip(modes, blobs, strict=True)
            )
            found.append((was, now))
        return found

    def staged(self, paths: Sequence[str]) -> dict[str, str]:
        """The blobs of those of `paths` that are in the user's index."""
        if not paths:
            return {}
        lines = self.run("ls-files", "--stage", "-z", "--", *(f":(top,literal){path}" for path in paths)).split("\0")
        entries = (line.partition("\t") for line in lines if line)
        return {path: head.split(" ")[1] for head, _, path in entries}

    def standing(self, paths: Sequence[str]) -> dict[str, str]:
        """The blobs that those of `paths` which are files in the work tree would be committed as."""
        files = [path for path in paths if (self.root / path).is_file()]
        blobs = self.run("hash-object", "--stdin-paths", stdin="".join(f"{path}\n" for path in files).encode())
        return dict(zip(files, blobs.split(), strict=True))

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

    def grep(self, pattern: str, revisions: Sequence[str], paths: Sequence[str]) -> list[str]:
        """`REVISION:PATH:MATCH` for every match of an extended expression; none is an answer, a failure is a ReleaseError."""
        words = ("grep", "--only-matching", "--full-name", "-I", "-E", "-e", pattern, *revisions, "--", *paths)
        done = self._start(*words)
        if done.returncode > 1:
            return self.run(*words).splitlines()  # says why
        return done.stdout.decode().splitlines()

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
        try:
            with self.moving_refs():
                self.run("update-ref", "-m", f"synthmill: {reason}", "HEAD", new, old or "")
        except ReleaseError:
            if self.head() != old:
                return False
            raise
        return True

    @contextmanager
    def moving_refs(self) -> Iterator[None]:
        """A note for as long as the block lasts, so that the locks which a kill leaves can be told for ours (`drop_stale_locks`)."""
        note = self.git_path("synthmill-moving")
        note.touch()
        try:
            yield
        finally:
            note.unlink(missing_ok=True)  # of two at once, the first to end takes it

    def stage(self, files: Mapping[str, bytes]) -> None:
        """Bring the user's index in line for `files`, and leave everything else in it as it is."""
        self._stage(self._entries(files))

    def check_out(self, entries: Iterable[Entry]) -> None:
        """Put these paths in the user's index and in the work tree, whatever stands there."""
        entries = list(entries)
        self.stage_entries(entries)
        there = [entry.path for entry in entries if entry.blob]
        self.run("checkout-index", "--force", "-z", "--stdin", stdin="".join(f"{path}\0" for path in there).encode())
        for entry in entries:
            if not entry.blob:
                (self.root / entry.path).unlink(missing_ok=True)

    def stage_entries(self, entries: Iterable[Entry]) -> None:
        """Put these paths in the user's index alone."""
        lines = (f"{entry.mode or '0'} {entry.blob or _NO_BLOB}\t{entry.path}\n" for entry in entries)
        self._stage("".join(lines).encode())

    def _stage(self, lines: bytes) -> None:
        """Update the user's index by lines of `update-index --index-info`.

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
            self.run("update-index", "--index-info", stdin=lines, env=env)
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

    def make_tag(self, name: str, commit: str, message: str = "", *, time_s: int | None = None) -> str:
        """An annotated tag (GTO and DVC do not see a lightweight one) as an object that no ref names yet; `time_s`: not now, but then."""
        then = {} if time_s is None else {"GIT_COMMITTER_DATE": f"{time_s} +0000"}
        tagger = self.run("var", "GIT_COMMITTER_IDENT", env={**self._identity(), **then})
        text = f"object {commit}\ntype commit\ntag {name}\ntagger {tagger}\n\n{message or name}\n"
        return self.run("mktag", stdin=text.encode())

    def tag(self, name: str, commit: str, message: str = "") -> None:
        """Make an annotated tag here."""
        self.set_refs({f"refs/tags/{name}": self.make_tag(name, commit, message)})

    def set_refs(self, refs: Mapping[str, str]) -> None:
        """Have these refs name these objects, all or none; what they named before is forgotten."""
        lines = "".join(f"update {ref} {to}\n" for ref, to in refs.items())
        with self.moving_refs():
            self.run("update-ref", "--stdin", stdin=lines.encode())

    def refs(self, folder: str) -> dict[str, str]:
        """The objects that the refs under a folder (`refs/tags`) name, by what the names say below it."""
        lines = self.run("for-each-ref", "--format=%(refname)%00%(objectname)", folder).splitlines()
        return {name.removeprefix(f"{folder}/"): found for name, found in (line.split("\0") for line in lines)}

    def _drop_branch_locks(self) -> None:
        """Where a run died as it moved refs: a lock made since, and still there when any git would be done, is its own."""
        note = self.git_path("synthmill-moving")
        if not note.exists():
            return
        branch = self.answer("symbolic-ref", "--quiet", "HEAD") or "HEAD"
        locks = [self.git_path(f"{name}.lock") for name in ("HEAD", branch, "packed-refs")]
        locks += self.git_path("refs/remotes").rglob("*.lock")
        since = note.stat().st_mtime_ns
        found = {lock: lock.stat().st_ino for lock in locks if lock.exists() and lock.stat().st_mtime_ns >= since}
        if found:
            time.sleep(_BRANCH_LOCK_S)
        for lock, inode in found.items():
            if lock.exists() and lock.stat().st_ino == inode:
                lock.unlink()
        note.unlink(missing_ok=True)

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
