"""A DVC remote on a server: what it lacks is sent, what was sent is proven, and what fails for a passing reason is tried again.

DVC takes a put that did not fail for an object that is there. Here every object is asked for, with its size, and its bytes are
proven: by its ETag where that is the MD5 (S3, one part), else they are read back and hashed, once for as long as its ETag stays.
"""

from __future__ import annotations

import hashlib
import json
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from dvc_data.hashfile.db import HashFileDB

from synthmill.store.cache import LocalStore
from synthmill.store.files import publish_json
from synthmill.store.reasons import Reason, reason_of

_ASKED, _SENT, _READ = "when asked what it holds", "as objects were sent", "as objects were read back"
_CONNECTIONS = 16
_IN_MEMORY_BYTES = 512_000_000  # an S3 client holds each file that it sends, up to 100 MB
_READ_BACK = 4
_BLOCK_BYTES = 8_388_608
_ASK_EACH = 256  # objects; beyond, DVC's 256 folders are listed, which is a request a thousand objects
_SAY_EVERY_S = 10.0
_PAUSE_S, _LONGEST_PAUSE_S = 0.5, 30.0


class Refused(Exception):
    """The remote would not, at a step; a later run goes on from what it holds."""

    def __init__(self, reason: Reason, step: str) -> None:
        super().__init__(reason.words)
        self.reason, self.step = reason, step


@dataclass(frozen=True, slots=True)
class Patience:
    """Seconds without any success after which a passing failure counts as one that stays: at first, and once something worked."""

    at_first_s: float = 15.0
    later_s: float = 300.0


@dataclass(frozen=True, slots=True)
class _Entry:
    size_bytes: int
    etag: str


@dataclass(slots=True)
class ServerRemote:
    """The remote behind DVC's object store."""

    store: HashFileDB
    patience: Patience
    say: Callable[[str], None]
    record: Path  # ETags of objects that were read back; losing it costs reading them again
    secrets: Sequence[str] = ()
    _has_worked: bool = field(default=False, init=False)

    def send(self, cache: LocalStore, objects: Mapping[str, int]) -> list[str]:
        """Have every object (name -> size in bytes) on the remote, byte for byte; returns those that it lacked. Refused."""
        lacking = self._unproven(objects)
        listings = [name for name in objects if name.endswith(".dir")]
        files = [name for name in lacking if name not in listings]
        if files:  # a listing says that all of its files are there
            self._patiently(_ASKED, self._drop, [name for name in listings if name not in lacking])
            lacking = [*files, *listings]
        for names in (files, [name for name in lacking if name in listings]):
            self._put(cache, {name: objects[name] for name in names})
            if left := self._unproven({name: objects[name] for name in names}):
                words = f"{len(left)} of {len(names)} objects are not there as they were sent, {left[0]} for one"
                raise Refused(Reason(words, "See the server's own log."), _ASKED)
        return lacking

    def _put(self, cache: LocalStore, objects: Mapping[str, int]) -> None:
        if not objects:
            return
        folders = sorted({name[:2] for name in objects})
        self._patiently(_SENT, self.store._init, folders[:1])  # lists the folders that are there, once
        self._patiently(_SENT, self.store._init, folders[1:])

        def put(name: str) -> None:
            self.store.fs.put_file(str(cache.path(name)), self.store.oid_to_path(name))

        connections = max(1, min(_CONNECTIONS, _IN_MEMORY_BYTES // max(objects.values())))
        self._patiently(_SENT, put, objects, connections=connections)

    def _drop(self, name: str) -> None:
        with suppress(FileNotFoundError):
            self.store.fs.remove(self.store.oid_to_path(name))

    def _unproven(self, objects: Mapping[str, int]) -> list[str]:
        """Those that are missing, or have other bytes."""
        found = self._look(objects)
        there = [name for name, size in objects.items() if name in found and found[name].size_bytes == size]
        known: dict[str, str] = json.loads(self.record.read_bytes()) if self.record.exists() else {}
        doubtful = [name for name in there if found[name].etag not in (name.removesuffix(".dir"), known.get(name))]
        proven = set(there) - set(doubtful)

        def read_back(name: str) -> None:
            if self._hash(name) == name.removesuffix(".dir"):
                proven.add(name)

        self._patiently(_READ, read_back, doubtful, connections=_READ_BACK)
        if new := {name: found[name].etag for name in doubtful if name in proven and found[name].etag}:
            publish_json(self.record, {**known, **new})
        return [name for name in objects if name not in proven]

    def _hash(self, name: str) -> str:
        with self.store.fs.open(self.store.oid_to_path(name), "rb", block_size=_BLOCK_BYTES) as file:
            digest = hashlib.md5(usedforsecurity=False)
            while block := file.read(_BLOCK_BYTES):
                digest.update(block)
        return digest.hexdigest()

    def _look(self, objects: Mapping[str, int]) -> dict[str, _Entry]:
        """What the remote says of these objects."""
        found: dict[str, _Entry] = {}

        def ask(name: str) -> None:
            try:
                found[name] = _entry(self.store.fs.info(self.store.oid_to_path(name)))
            except FileNotFoundError:
                found.pop(name, None)

        def list_folder(prefix: str) -> None:
            try:
                entries = self.store.fs.ls(self.store.fs.join(self.store.path, prefix), detail=True)
            except FileNotFoundError:
                return
            for entry in entries:
                found[prefix + entry["name"].rstrip("/").rpartition("/")[2]] = _entry(entry)

        self.store.fs.fs.invalidate_cache()
        if len(objects) <= _ASK_EACH:
            self._patiently(_ASKED, ask, objects)
        else:
            self._patiently(_ASKED, list_folder, sorted({name[:2] for name in objects}))
        return found

    def _patiently(
        self, step: str, work: Callable[[str], object], names: Iterable[str], *, connections: int = _CONNECTIONS
    ) -> None:
        """Do the work for every name, again for those where it fails for a passing reason. Refused when nothing helps."""
        left, pause_s, last = list(names), _PAUSE_S, time.monotonic()
        while left:
            failed = self._attempt(step, work, left, connections, last)
            reasons = list(failed.values())
            worst = next((reason for reason in reasons if not reason.passes), reasons[0] if reasons else None)
            if len(failed) < len(left):
                self._has_worked, last, pause_s = True, time.monotonic(), _PAUSE_S
            if worst and (not worst.passes or time.monotonic() - last + pause_s > self._patience_s):
                raise Refused(worst, step)
            left = list(failed)
            if worst:
                self.say(f"{worst.words}, {step}; {len(left):,} are tried again in {pause_s:g} s")
                time.sleep(pause_s)
                pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)

    @property
    def _patience_s(self) -> float:
        return self.patience.later_s if self._has_worked else self.patience.at_first_s

    def _attempt(
        self, step: str, work: Callable[[str], object], names: list[str], connections: int, last: float
    ) -> dict[str, Reason]:
        """One try for each; name -> why it failed. Once it is hopeless no further one is begun."""
        failed: dict[str, Reason] = {}
        given_up, success, said, done = threading.Event(), [last], [time.monotonic()], [0]

        def attempt(name: str) -> None:
            if given_up.is_set():
                failed[name] = next(iter(failed.values()))
                return
            try:
                work(name)
            except Exception as error:  # noqa: BLE001  of any client; it is told apart by reason_of
                failed[name] = reason_of(error, self.secrets)
                if not failed[name].passes or time.monotonic() - success[0] > self._patience_s:
                    given_up.set()
            else:
                self._has_worked, success[0] = True, time.monotonic()
                done[0] += 1
                if success[0] - said[0] > _SAY_EVERY_S:
                    said[0] = success[0]
                    self.say(f"{done[0]:,} of {len(names):,} objects, {step}")

        with ThreadPoolExecutor(connections) as pool:
            list(pool.map(attempt, names))
        return failed


def _entry(info: Mapping[str, object]) -> _Entry:
    size, etag = info.get("size"), info.get("ETag") or info.get("etag") or ""
    return _Entry(size if isinstance(size, int) else -1, str(etag).removeprefix("W/").strip('"'))
