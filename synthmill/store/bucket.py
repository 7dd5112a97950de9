"""A state that is a URI, as files under names: the one place that calls fsspec, and where its errors become ours.

What does not answer is asked again with growing pauses, for as long as `again` allows. Refused credentials, a full store and a bucket
that is not there are errors at once. No message holds a secret: the settings refuse a URI with one.
"""

from __future__ import annotations

import errno
import shutil
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import fsspec

from synthmill.errors import StorageError, WorkspaceError
from synthmill.fingerprint import hash_file
from synthmill.settings import NAME as SETTINGS
from synthmill.settings import StorageSettings
from synthmill.store.files import publish_bytes, publishing

T = TypeVar("T")
Again = Callable[[float, float], bool]
"""(seconds since the first failure, seconds to pause) -> pauses, and says whether to try once more."""

PATIENCE_S = 30.0
AGAIN = "run again: what is finished is kept here, and only what is missing is sent"
_PAUSES_S = (0.2, 0.5, 1.0, 2.0, 5.0, 15.0)
_REFUSED = (
    "AccessDenied",
    "CredentialRetrievalError",
    "NoCredentialsError",
    "PartialCredentialsError",
    "ProfileNotFound",
)
_FULL = ("EntityTooLarge", "InsufficientStorage", "QuotaExceeded", "no space left", " 507 ")
_NOT_THERE = ("InvalidBucketName", "NoSuchBucket", "ParamValidationError")


def patient(patience_s: float, check: Callable[[], None] = lambda: None) -> Again:
    """Try for so many seconds; what `check` raises ends it before."""

    def again(failed_s: float, pause_s: float) -> bool:
        check()
        if failed_s + pause_s > patience_s:
            return False
        time.sleep(pause_s)
        return True

    return again


@dataclass(frozen=True, slots=True)
class Bucket:
    """Files under `uri`; names are relative to it. Any thread may use it."""

    uri: str
    fs: Any
    root: str
    again: Again
    is_read_only: bool = False  # then nothing is removed

    def sizes(self, folder: str) -> dict[str, int]:
        """Every file below a folder, by its name in it; empty where there is no such folder."""
        prefix = f"{self.root}/{folder}"
        nothing: dict[str, dict[str, int]] = {}
        found = self._try(lambda: _unless_absent(lambda: self.fs.find(prefix, detail=True), nothing))
        sizes = {path.removeprefix(f"{prefix}/"): int(info["size"]) for path, info in found.items()}
        return {name: size for name, size in sizes.items() if ".tmp-" not in name}

    def read(self, name: str) -> bytes | None:
        """A small file; None where there is none."""
        return self.read_many([name]).get(name)

    def read_many(self, names: Iterable[str]) -> dict[str, bytes]:
        """Small files at once; those that are not there are left out."""
        paths = {f"{self.root}/{name}": name for name in names}
        found = self._try(lambda: _contents(self.fs, list(paths))) if paths else {}
        return {paths[path]: data for path, data in found.items()}

    def fetch(self, name: str, path: Path, sha256: str) -> bool | None:
        """Copy a file to `path`: None where there is none, False where it is not what its hash says, though asked for twice."""
        for _ in range(2):
            if not self._try(lambda: _unless_absent(lambda: self._get(name, path), False)):
                return None
            if hash_file(path) == sha256:
                return True
        return False

    def _get(self, name: str, path: Path) -> bool:
        self.fs.get_file(f"{self.root}/{name}", str(path))
        return True

    def write(self, name: str, data: bytes) -> None:
        """Store bytes; what was there is replaced."""
        if self.is_folder:
            publish_bytes(Path(self.root) / name, data)
        else:
            self._try(lambda: self.fs.pipe_file(f"{self.root}/{name}", data))

    def upload(self, path: Path, name: str) -> None:
        """Store a file; what was there is replaced."""
        if self.is_folder:
            target = Path(self.root) / name
            target.parent.mkdir(parents=True, exist_ok=True)
            with publishing(target) as aside:
                shutil.copyfile(path, aside)
        else:
            self._try(lambda: self.fs.put_file(str(path), f"{self.root}/{name}"))

    def remove(self, name: str) -> None:
        """Remove a file, where it is there."""
        if self.is_read_only:
            return
        self._try(lambda: _unless_absent(lambda: self.fs.rm_file(f"{self.root}/{name}"), None))

    def check(self) -> None:
        """StorageError where it cannot be read, or is a folder that is not there, which may be a mount that is missing."""
        if self.is_folder and not Path(self.root).is_dir():
            raise StorageError("the folder of the state is not there", where=self.uri, hint="make it, or mount it")
        self._try(lambda: _unless_absent(lambda: self.fs.ls(self.root, detail=False), []))

    @property
    def is_folder(self) -> bool:
        """Under file://, where we write aside and flush to the disk ourselves."""
        return "file" in self.fs.protocol

    def _try(self, do: Callable[[], T]) -> T:
        """Do it, again and again where nothing answers."""
        started, attempt = time.monotonic(), 0
        while True:
            try:
                return do()
            except Exception as error:  # every store raises what it likes
                if (refusal := _refusal(error, self.uri)) is not None:
                    raise refusal from error
                if not self.again(time.monotonic() - started, _PAUSES_S[min(attempt, len(_PAUSES_S) - 1)]):
                    what = f"the state does not answer: {_reason(error)}"
                    hint = f"see that it can be reached from here, then {AGAIN}"
                    raise StorageError(what, where=self.uri, hint=hint) from error
            attempt += 1


def open_bucket(uri: str, storage: StorageSettings, again: Again, *, is_read_only: bool = False) -> Bucket:
    """The files under a URI. WorkspaceError where nothing installed knows its scheme; nothing is asked of it yet."""
    plain = {"skip_instance_cache": True, "use_listings_cache": False}  # others write there too
    try:
        fs, root = fsspec.core.url_to_fs(uri, **plain, **_options(uri, storage))
    except ImportError as error:
        scheme = uri.partition(":")[0]
        hint = "`pip install 'synthmill[s3]'`" if scheme == "s3" else f"install what fsspec needs for {scheme}://"
        raise WorkspaceError(f"state: nothing installed here reads {scheme}://", where=SETTINGS, hint=hint) from error
    except ValueError as error:
        known = "fsspec knows s3://BUCKET/PREFIX, gs://, az://, file:///FOLDER and others"
        raise WorkspaceError(f"state: {error}", where=SETTINGS, hint=known) from error
    if hasattr(fs, "retries"):
        fs.retries = 1  # we have patience of our own, which a driver that is to stop can end
    return Bucket(uri, fs, root.rstrip("/"), again, is_read_only)


def _options(uri: str, storage: StorageSettings) -> dict[str, object]:
    if not uri.startswith("s3://"):
        return {}
    given = {"endpoint_url": storage.endpoint_url, "profile": storage.profile}
    return {
        **{key: value for key, value in given.items() if value},
        "client_kwargs": {"region_name": storage.region} if storage.region else {},
        "config_kwargs": {"connect_timeout": 10, "read_timeout": 60, "retries": {"max_attempts": 0}},
    }


def _unless_absent(do: Callable[[], T], absent: T) -> T:
    """What `do` gives, or `absent` where the file is not there; a bucket that is not there stays an error."""
    try:
        return do()
    except FileNotFoundError as error:
        if _says(error, _NOT_THERE):
            raise
        return absent


def _contents(fs: Any, paths: list[str]) -> dict[str, bytes]:
    found: Mapping[str, Any] = fs.cat(paths, on_error="return")
    for data in found.values():
        if isinstance(data, BaseException) and not isinstance(data, FileNotFoundError):
            raise data
    return {path: data for path, data in found.items() if isinstance(data, bytes)}


def _refusal(error: Exception, uri: str) -> StorageError | None:
    """What another try does not mend; None where it may."""
    if isinstance(error, StorageError):
        return error
    if getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT) or _says(error, _FULL):
        return StorageError("the state is full", where=uri, hint=f"free some space there, then {AGAIN}")
    if isinstance(error, PermissionError) or _says(error, _REFUSED):
        hint = (
            f"credentials come from the environment, or the profile of [storage] in {SETTINGS}; mend them, then {AGAIN}"
        )
        return StorageError(f"the state refuses us: {_reason(error)}", where=uri, hint=hint)
    if isinstance(error, FileNotFoundError) or _says(error, _NOT_THERE):
        hint = f"make the bucket, or mend its name in {SETTINGS}"
        return StorageError(f"the state is not there: {_reason(error)}", where=uri, hint=hint)
    if isinstance(error, OSError) or type(error).__module__ != "builtins":
        return None
    return StorageError(f"the state cannot be used: {type(error).__name__}: {_reason(error)}", where=uri)


def _says(error: BaseException, words: tuple[str, ...]) -> bool:
    """Whether the error, or the one it was made of, has one of the words in its type or its text."""
    told = " ".join(f"{type(one).__name__} {one}" for one in (error, error.__cause__) if one is not None)
    return any(word in told for word in words)


def _reason(error: Exception) -> str:
    return str(error).partition("\n")[0] or type(error).__name__
