"""What the DVC child does with the objects of a store beyond DVC's own commands: hash, read, copy, remove and list them.

A store is the cache or a remote. DVC believes the names of objects; nothing here does.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from uuid import uuid4

from dvc_data.hashfile.db import HashFileDB, get_index

from synthmill.errors import ReleaseError
from synthmill.store.objects import hash_file

_BLOCK_BYTES = 1 << 20
_AT_ONCE = 4
_MODE = 0o644
_NAME = re.compile(r"[0-9a-f]{32}(\.dir)?")


def obey(order: Sequence[str], names: Sequence[str], store: Callable[[str], HashFileDB]) -> Sequence[object]:
    """The answer to an order in words; `store` opens the cache or the remote."""
    match order:
        case ["fetch"]:
            return fetch(store("remote"), store("cache"), names)
        case ["export"]:
            return export(store, names[0], Path(names[1]))
        case ["copy", source, target]:
            return copy(store(source), store(target), names)
        case ["remove", side]:
            return remove(store(side), names)
        case [*question, side]:
            return _tell(question, names, store(side))
    raise ValueError(f"unknown order: {' '.join(order)}")


def _tell(question: Sequence[str], names: Sequence[str], store: HashFileDB) -> Sequence[object]:
    match question:
        case ["survey", "bytes" | "sizes" as how]:
            return survey(store, names, by_bytes=how == "bytes")
        case ["read"]:
            return read(store, names)
        case ["place"]:
            return [store.path]
        case ["contents"]:
            return contents(store)
    raise ValueError(f"unknown question: {' '.join(question)}")


def export(store: Callable[[str], HashFileDB], address: str, to: Path) -> list[str]:
    """Copy the folder of that address to `to`, from the cache or else the remote of today.

    `repo.switch` would read the remote's address from the old commit, where it may be another.
    """
    listing = to / ".listing"
    to.mkdir(parents=True, exist_ok=True)
    _bring(store, {listing: address})
    entries = json.loads(listing.read_bytes())
    listing.unlink()
    wanted = {(to / entry["relpath"]).resolve(): entry["md5"] for entry in entries}
    if outside := [path for path in wanted if not path.is_relative_to(to.resolve())]:
        raise ValueError(f"the folder's listing names a path outside of it: {outside[0]}")
    _bring(store, wanted)
    return []


def _bring(store: Callable[[str], HashFileDB], wanted: dict[Path, str]) -> None:
    """Copy objects (place -> name), those that the cache has whole from there."""
    cache = store("cache")
    missing = {path: name for path, name in wanted.items() if not _copy_out(cache, name, path)}
    if not missing:
        return
    remote = store("remote")
    with ThreadPoolExecutor(remote.fs.jobs) as threads:
        is_whole = threads.map(lambda path: _copy_out(remote, missing[path], path), missing)
    lacking = [path.name for path, found in zip(missing, is_whole, strict=True) if not found]
    if lacking:
        what = f"{len(lacking)} of {len(wanted)} objects are missing or damaged on the DVC remote"
        raise ReleaseError(f"{what}, one of them {lacking[0]}", hint="Another clone's cache may have them.")


def _copy_out(store: HashFileDB, name: str, path: Path) -> bool:
    """Copy one object; False where the store lacks it, or holds other bytes under its name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        store.fs.get_file(store.oid_to_path(name), str(path))
    except FileNotFoundError:
        return False
    return hash_file(path) == name.removesuffix(".dir")


def survey(store: HashFileDB, names: Sequence[str], *, by_bytes: bool) -> list[dict[str, object] | None]:
    """Size, and by bytes MD5 and SHA-256, of each object as it lies there; None for one that is missing."""
    store.fs.fs.invalidate_cache()  # what it was told before may be old
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        return list(pool.map(lambda name: _look(store, name, by_bytes=by_bytes), names))


def read(store: HashFileDB, names: Sequence[str]) -> list[str | None]:
    """The text of each object; None for one that is missing, or is not what its name says."""
    return [_read(store, name) for name in names]


def copy(source: HashFileDB, target: HashFileDB, names: Sequence[str]) -> list[str]:
    """Put whole objects over missing or damaged ones; returns those that the source does not hold whole. One of the two is local."""
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        is_copied = pool.map(lambda name: _copy(source, target, name), names)
    failed = [name for name, done in zip(names, is_copied, strict=True) if not done]
    get_index(target).clear()  # DVC's own notes of what the store holds
    return failed


def fetch(remote: HashFileDB, cache: HashFileDB, names: Sequence[str]) -> list[str]:
    """Bring objects into the cache that it lacks; returns those that the remote does not hold whole."""
    return copy(remote, cache, [name for name in names if not Path(cache.oid_to_path(name)).exists()])


def remove(store: HashFileDB, names: Sequence[str]) -> list[str]:
    """Remove objects; one that is gone already is no error."""
    for name in names:
        with suppress(FileNotFoundError):
            store.fs.remove(store.oid_to_path(name))
    get_index(store).clear()
    return []


def contents(store: HashFileDB) -> list[tuple[str, int, float | None]]:
    """Every object of the store: name, size in bytes, and when it was written in seconds since 1970, None where the store does not say."""
    found = _walk(store.path) if _is_local(store) else _find(store)
    named = (("".join(path.split("/")[-2:]), size, written) for path, size, written in found)
    return sorted(entry for entry in named if _NAME.fullmatch(entry[0]))


def _look(store: HashFileDB, name: str, *, by_bytes: bool) -> dict[str, object] | None:
    path = store.oid_to_path(name)
    try:
        if not by_bytes:
            return {"size": int(store.fs.info(path)["size"])}
        size, md5, sha256 = 0, hashlib.md5(usedforsecurity=False), hashlib.sha256()
        for block in _blocks(store, name):
            size += len(block)
            md5.update(block)
            sha256.update(block)
    except FileNotFoundError:
        return None
    return {"size": size, "md5": md5.hexdigest(), "sha256": sha256.hexdigest()}


def _read(store: HashFileDB, name: str) -> str | None:
    try:
        content = b"".join(_blocks(store, name))
    except FileNotFoundError:
        return None
    is_whole = hashlib.md5(content, usedforsecurity=False).hexdigest() == name.removesuffix(".dir")
    return content.decode() if is_whole else None


def _copy(source: HashFileDB, target: HashFileDB, name: str) -> bool:
    if _is_local(target):
        return _copy_here(source, target, name)
    found = _look(source, name, by_bytes=True)
    if found is None or found["md5"] != name.removesuffix(".dir"):
        return False
    target.fs.makedirs(target.fs.parent(target.oid_to_path(name)))
    target.fs.put_file(source.oid_to_path(name), target.oid_to_path(name))
    return True


def _copy_here(source: HashFileDB, target: HashFileDB, name: str) -> bool:
    """Into a local store: aside, flushed, renamed; a damaged source leaves nothing behind."""
    path, md5 = Path(target.oid_to_path(name)), hashlib.md5(usedforsecurity=False)
    aside = path.with_name(f"{path.name}.{uuid4().hex}.tmp")
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with aside.open("wb") as file:
            for block in _blocks(source, name):
                md5.update(block)
                file.write(block)
            file.flush()
            os.fsync(file.fileno())
        if md5.hexdigest() != name.removesuffix(".dir"):
            return False
        aside.replace(path)
        path.chmod(target.CACHE_MODE or _MODE)
    except FileNotFoundError:
        return False
    finally:
        aside.unlink(missing_ok=True)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    os.fsync(folder)
    os.close(folder)
    return True


def _blocks(store: HashFileDB, name: str) -> Iterator[bytes]:
    with store.fs.open(store.oid_to_path(name), "rb") as file:
        while block := file.read(_BLOCK_BYTES):
            yield block


def _is_local(store: HashFileDB) -> bool:
    return bool(store.fs.protocol == "local")


def _walk(root: str) -> Iterator[tuple[str, int, float | None]]:
    for folder, _, files in os.walk(root):
        for file in files:
            with suppress(FileNotFoundError):
                status = Path(folder, file).stat()
                yield Path(folder, file).as_posix(), status.st_size, status.st_mtime


def _find(store: HashFileDB) -> Iterator[tuple[str, int, float | None]]:
    store.fs.fs.invalidate_cache()
    for path, info in store.fs.fs.find(store.path, detail=True).items():
        written = next((info[key] for key in ("LastModified", "modified", "mtime") if info.get(key)), None)
        seconds = written.timestamp() if isinstance(written, datetime) else written
        yield path, int(info.get("size") or 0), seconds if isinstance(seconds, float) else None
