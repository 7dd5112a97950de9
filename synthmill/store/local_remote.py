"""A DVC remote that is a folder: what it holds is hashed, what it lacks is put there, read back and flushed to the disk.

A remote inside the workspace is no second copy of anything, so its objects may be those of the cache. Anywhere else they share no bytes
but those that the file system parts again when one side is written to: with hardlinks an edit of the work tree would reach them.
"""

from __future__ import annotations

from collections.abc import Mapping

from synthmill.store.cache import Link, LocalStore, flush


def send(cache: LocalStore, remote: LocalStore, objects: Mapping[str, int], *, may_share: bool) -> list[str]:
    """Have every object (name -> size in bytes) in the remote, byte for byte and on the disk; returns those that it lacked.

    Those of the cache were hashed just now. OSError where the folder refuses, or what is read back is not what was written.
    """
    links: list[Link] = ["reflink", "hardlink", "copy"] if may_share else ["reflink", "copy"]
    lacking = remote.lacking({name: size for name, size in objects.items() if not _is_one(cache, remote, name)})
    listings = [name for name in objects if name.endswith(".dir")]
    if not lacking:
        flush(remote.root)
        return []
    for name in listings:  # it says that all of its files are there
        remote.drop(name)
    files = [name for name in lacking if name not in listings]
    for names in (files, listings):
        if damaged := remote.take({name: cache.path(name) for name in names}, links, are_proven=True):
            raise OSError(None, "what is read back is not what was written", str(remote.path(damaged[0])))
    return [*files, *listings]


def _is_one(cache: LocalStore, remote: LocalStore, name: str) -> bool:
    place = remote.path(name)
    return place.exists() and place.samefile(cache.path(name))
