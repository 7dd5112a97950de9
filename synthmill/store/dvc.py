"""The DVC that a release needs, in one child process that inherits the workspace lock.

DVC is imported in dvc_child.py alone. One child obeys all orders of a release, because a start of DVC costs more than most of
its commands. A child whose parent was killed ends with the order that it is at.
"""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Literal

from synthmill.errors import Interrupted, ReleaseError, StorageError
from synthmill.store.lock import Progress, ShouldStop
from synthmill.store.objects import Tree

_POLL_S = 1.0  # how often `should_stop` is asked
Side = Literal["cache", "remote"]
# How long a remote that fails is asked again: one that never answered, and one that did.
FIRST_PATIENCE_S, PATIENCE_S = 15.0, 300.0
_KILLED = {-signal.SIGBUS: "the disk is full"}  # SQLite, on which DVC's notes are, maps a file that then cannot grow
SITE_CACHE = Path(".dvc", "tmp", "site")  # DVC's default is shared by all users of the machine, and holds pickles


@dataclass(frozen=True, slots=True)
class Found:
    """An object's bytes as they are, whatever its name says; without hashes where its size alone was asked for."""

    size: int
    md5: str | None = None
    sha256: str | None = None


@dataclass(frozen=True, slots=True)
class Stored:
    """An object of a store, not looked into; `written` in seconds since 1970, None where the store does not say."""

    size: int
    written: float | None


def _temporary_file() -> IO[str]:
    return tempfile.TemporaryFile("w+")


@dataclass(slots=True)
class Dvc:
    """The DVC repository at `root`; `lock_fd` is the workspace lock that the child inherits, None to look only. A context manager.

    Once `should_stop` says yes, the child is killed in the middle of an order, which the next run heals: Interrupted.
    """

    root: Path
    lock_fd: int | None
    should_stop: ShouldStop = lambda: False
    progress: Progress = lambda line: None
    _child: subprocess.Popen[str] | None = field(default=None, init=False)
    _unread: bytes = field(default=b"", init=False)
    _words: IO[str] = field(default_factory=_temporary_file, init=False)  # the child's stderr

    def __enter__(self) -> Dvc:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._child is not None:
            if error is not None:  # it may be at an order still
                self._child.kill()
            self._child.communicate()  # closes its input: no more orders
        self._words.close()

    def init(self) -> None:
        """Make the folder a DVC repository. `--force`: what a killed init left is in its way."""
        child = self._start("-m", "dvc", "init", "--quiet", "--force")
        child.communicate()
        if child.returncode != 0:
            raise self._error("init")

    def commit(self, stage: str, out: str, tree: Tree) -> list[str]:
        """Record the stage's out, which is to hold `tree`, in the cache and in dvc.lock, although no `dvc repro` ran it.

        The files that hold other bytes are returned; then nothing is recorded.
        """
        return self._ask("commit", {"stage": stage, "out": out, **_files(tree)})

    def relink(self, out: str, tree: Tree) -> None:
        """Have the files of the out share their bytes with the cache; whatever they held, they are `tree` afterwards."""
        self._ask("relink", {"out": out, **_files(tree)})

    def restore(self, out: str) -> None:
        """Bring back what dvc.lock records, from the cache or else from the remote."""
        self._ask("restore", {"out": out})

    def push(self, dataset: str, tree: Tree) -> list[str]:
        """Have every object of the tree on the default remote, proven byte for byte; returns those that it lacked."""
        try:
            return self._ask("push", {"objects": tree.objects(), "patience_s": [FIRST_PATIENCE_S, PATIENCE_S]})
        except ReleaseError as error:
            step = f"Then run `synthmill release {dataset}` to go on: nothing is generated again."
            hint = f"Nothing was released. {error.hint.removeprefix('Nothing was released. ')} {step}"
            raise ReleaseError(error.what, where=error.where, hint=hint) from error

    def export(self, address: str, to: Path) -> None:
        """Copy the folder of that content address to `to`, each file whole, from the cache or else from the remote of today."""
        self._ask("export", [address, str(to)])

    def fetch(self, objects: Sequence[str]) -> list[str]:
        """Bring these objects from the default remote into the cache; names of those that the remote does not hold whole."""
        return self._ask("fetch", list(objects))

    def survey(self, side: Side, names: Sequence[str], *, by_bytes: bool = True) -> list[Found | None]:
        """Each object as it lies there, hashed by bytes; None for one that is missing."""
        found = self._ask(f"survey {'bytes' if by_bytes else 'sizes'} {side}", list(names))
        return [None if entry is None else Found(**entry) for entry in found]

    def read(self, side: Side, names: Sequence[str]) -> list[str | None]:
        """The text of each object; None for one that is missing or damaged."""
        return [None if text is None else str(text) for text in self._ask(f"read {side}", list(names))]

    def copy(self, source: Side, target: Side, names: Sequence[str]) -> list[str]:
        """Put whole objects in place of missing or damaged ones; returns those that the source does not hold whole."""
        return self._ask(f"copy {source} {target}", list(names))

    def remove(self, side: Side, names: Sequence[str]) -> None:
        """Remove objects for good; one that is gone already is no error."""
        self._ask(f"remove {side}", list(names))

    def place(self, side: Side) -> str:
        """Where the store lies: a folder, or a path in a bucket."""
        return str(self._ask(f"place {side}", [])[0])

    def contents(self, side: Side) -> dict[str, Stored]:
        """Every object of the store by name."""
        return {str(name): Stored(*rest) for name, *rest in self._ask(f"contents {side}", [])}

    def _ask(self, order: str, subject: object) -> list[Any]:
        if self._child is None:
            self._child = self._start("-m", "synthmill.store.dvc_child")
        assert self._child.stdin is not None
        with suppress(BrokenPipeError):  # it died between two orders; the missing answer tells
            self._child.stdin.write(json.dumps([order, subject]) + "\n")
            self._child.stdin.flush()
        while "said" in (answer := self._read(order)):
            self.progress(f"release: dvc {order}: {answer['said'][0]}")
        if "refused" in answer:
            what, where, hint = answer["refused"]
            raise ReleaseError(what, where=where, hint=hint)
        return answer["done"]

    def _read(self, order: str) -> dict[str, list[Any]]:
        """The next line of the child; it is killed once we should stop."""
        assert self._child is not None
        assert self._child.stdout is not None
        channel = self._child.stdout.fileno()
        while b"\n" not in self._unread:
            if not select.select([channel], [], [], _POLL_S)[0]:
                if self.should_stop():
                    self._child.kill()
            elif piece := os.read(channel, 65_536):
                self._unread += piece
            else:
                self._child.wait()
                if self.should_stop():
                    raise Interrupted(f"stopped in `dvc {order}`", hint="run again: the release goes on from there")
                raise self._error(order)
        line, _, self._unread = self._unread.partition(b"\n")
        answer: dict[str, list[Any]] = json.loads(line)
        return answer

    def _start(self, *arguments: str) -> subprocess.Popen[str]:
        site = {"DVC_SITE_CACHE_DIR": str(self.root / SITE_CACHE), "DVC_NO_ANALYTICS": "1", "DO_NOT_TRACK": "1"}
        site["AWS_MAX_ATTEMPTS"] = (
            "1"  # s3fs tries each request five times and we try again: 25 would be an hour of silence
        )
        return subprocess.Popen(
            [sys.executable, "-P", *arguments],  # -P: a folder named `dvc` in the workspace must not shadow the package
            cwd=self.root,
            env={**os.environ, **site},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._words,
            text=True,
            pass_fds=() if self.lock_fd is None else (self.lock_fd,),
        )

    def _error(self, order: str) -> ReleaseError:
        self._words.seek(0)
        code = (self._child.poll() if self._child else 0) or 0
        return ReleaseError(
            f"`dvc {order}` failed: {_KILLED.get(code) or _last_words(self._words.read())}",
            where=str(self.root),
            hint="Nothing was released. Mend what it names and run again: the release goes on from there.",
        )


def _files(tree: Tree) -> dict[str, object]:
    return {"files": dict(tree.files), "sizes": dict(tree.sizes)}


def get(url: str, path: str, rev: str, out: Path, *, scratch: Path) -> None:
    """Copy `path` at the commit `rev` of the repository `url` to `out`, from its cache or its remote; StorageError where that fails.

    In a child of its own, which needs no workspace here; `scratch` is for what DVC keeps beside.
    """
    scratch.mkdir(parents=True, exist_ok=True)
    site = {"DVC_SITE_CACHE_DIR": str(scratch), "DVC_NO_ANALYTICS": "1", "DO_NOT_TRACK": "1"}
    command = [sys.executable, "-P", "-m", "synthmill.store.dvc_child", "get", url, path, rev, str(out)]
    done = subprocess.run(
        command,
        cwd=scratch,
        env={**os.environ, **site},
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        check=False,
    )
    if done.returncode != 0:
        raise StorageError(
            f"`dvc get` of {path} failed: {_last_words(done.stderr)}",
            where=url,
            hint="May this machine read the DVC remote of that repository, and is it reachable? Then load it again.",
        )


def _last_words(text: str) -> str:
    words = [line for line in text.splitlines() if line.strip()] or ["the process was killed"]
    return words[-1].partition(": ")[2] or words[-1]  # without the name of the Python exception
