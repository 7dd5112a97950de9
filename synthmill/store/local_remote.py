"""A DVC remote that is a folder: what it holds is hashed, what it lacks is put there, read back and flushed to the disk.

Its objects share no bytes with the cache but those that the file system parts again when one side is written to: with hardlinks an edit of
the work tree, or a flipped bit, would reach the one copy that could mend it.
"""

from __future__ import annotations

from collections.abc import Mapping

from synthmill.store.cache import Link, LocalStore, flush


def send(cache: LocalStore, remote: LocalStore, objects: Mapping[str, int]) -> list[str]:
    """Have every object (name -> size in bytes) in the remote, byte for byte and on the disk; returns those that it lacked.

    Those of the cache were hashed just now. OSError where the folder refuses, or what is read back is not what was written.
    """
    links: list[Link] = ["reflink", "copy"]
    lacking = remote.lacking(objects)
    listings = [name for name in objects if name.endswith(".dir")]
    if not lacking:
        flush(remote.root)
        return []
    for name in listings:  # it says that all of its files are there
        remote.drop(name)
    files = [name for name in lacking if name not in listings]
    for names in (files, listings):
        if damaged := remote.take({name: cache.path(name) for name in names}, links):
            raise OSError(None, "what is read back is not what was written", str(remote.path(damaged[0])))
    return [*files, *listings]
