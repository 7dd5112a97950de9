"""A folder in a bucket: its files under their content hashes, and a sealed listing, sent last, that names and proves them.

So two who send other bytes under one name never mix them, a kill leaves files that nobody counts, and what is damaged is found.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TypeVar

from synthmill.fingerprint import hash_file
from synthmill.store.bucket import Bucket
from synthmill.store.files import aside_of, publish_folder, storage_errors
from synthmill.store.sealed import seal, unseal

Item = TypeVar("Item")
Result = TypeVar("Result")

LISTING = "listing.json"
_FORMAT = 1
_AT_ONCE = 8  # files in flight; memory holds a part of each
_POLL_S = 0.5


@dataclass(frozen=True, slots=True)
class Parcel:
    """The folder `name` of a bucket. `say` hears what is damaged, `check` is called between files and may raise."""

    bucket: Bucket
    name: str
    say: Callable[[str], None]
    check: Callable[[], None] = lambda: None

    @property
    def is_there(self) -> bool:
        """Whether a listing is; what it names is proven when it is fetched."""
        return self.bucket.read(f"{self.name}/{LISTING}") is not None

    def send(self, folder: Path, *, leave_out: tuple[str, ...] = ()) -> None:
        """Store every file of a folder that does not change meanwhile; nothing where a listing is there already."""
        there = self.bucket.sizes(self.name)
        if LISTING in there:
            return
        files = {}
        for path in sorted(folder.rglob("*")):
            name = path.relative_to(folder).as_posix()
            if not path.is_file() or name in leave_out or ".tmp-" in name:
                continue
            sha256, size = hash_file(path), path.stat().st_size
            if there.get(sha256) != size:
                self.bucket.upload(path, f"{self.name}/{sha256}")
            files[name] = sha256
        self.bucket.write(f"{self.name}/{LISTING}", seal({"format": _FORMAT, "files": files}))

    def bring(self, folder: Path) -> bool:
        """Have the whole folder here, in place of one that is; or nothing of it, and what is damaged is dropped there."""
        listing = self.listing()
        if listing is None:
            return False
        aside = aside_of(folder)
        try:
            with storage_errors(folder):
                aside.mkdir(parents=True)
                for path in listing:
                    (aside / path).parent.mkdir(parents=True, exist_ok=True)
            found = side_by_side(lambda entry: self.fetch(entry[1], aside / entry[0]), listing.items(), self.check)
            if is_whole := all(found):
                shutil.rmtree(folder, ignore_errors=True)
                publish_folder(aside, folder)
        finally:
            shutil.rmtree(aside, ignore_errors=True)
        return is_whole

    def listing(self) -> dict[str, str] | None:
        """The hash of each file; None where there is no listing, or a damaged one."""
        data = self.bucket.read(f"{self.name}/{LISTING}")
        content = None if data is None else unseal(data)
        if content is None:
            if data is not None:
                self.drop(LISTING)
            return None
        is_ours = content.get("format") == _FORMAT and all(map(_stays_inside, content["files"]))
        return dict(content["files"]) if is_ours else None

    def fetch(self, sha256: str, path: Path) -> bool:
        """One file, proven by its hash. Without it the listing says what is not so, and goes."""
        if self.bucket.fetch(f"{self.name}/{sha256}", path, sha256):
            return True
        self.drop(sha256)
        return False

    def drop(self, name: str) -> None:
        """Remove what is damaged, so that it is made and sent anew; the listing first, since it says that all is there."""
        self.say(
            f"state: {self.bucket.uri}/{self.name}/{name} is damaged or gone: this {self.name.partition('s/')[0]} counts as not there"
        )
        self.bucket.remove(f"{self.name}/{LISTING}")
        self.bucket.remove(f"{self.name}/{name}")


def side_by_side(do: Callable[[Item], Result], items: Iterable[Item], check: Callable[[], None]) -> list[Result]:
    """`do` for every item on a few threads; the results in the order of the items. `check` may raise in between."""
    with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="synthmill-state") as pool:
        futures = [pool.submit(do, item) for item in items]
        try:
            for future in futures:
                while not future.done():
                    wait([future], timeout=_POLL_S)
                    check()
            return [future.result() for future in futures]
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _stays_inside(name: str) -> bool:
    path = PurePosixPath(name)
    return bool(path.parts) and not path.is_absolute() and ".." not in path.parts
