"""A DVC remote that is a folder: what it holds is hashed, what it lacks is copied there, read back and flushed to the disk.

Objects there share no bytes with the cache but those that the file system parts again when one side is written to: a remote that were
linked to the work tree would be lost with it.
"""

from __future__ import annotations

from collections.abc import Mapping

from synthmill.store.cache import LocalStore, flush


def send(cache: LocalStore, remote: LocalStore, objects: Mapping[str, int]) -> list[str]:
    """Have every object (name -> size in bytes) in the remote, byte for byte and on the disk; returns those that it lacked.

    OSError where the folder refuses, or where what is read back is not what was written.
    """
    lacking = remote.lacking(objects)
    listings = [name for name in objects if name.endswith(".dir")]
    if not lacking:
        flush(remote.root)
        return []
    for name in listings:  # it says that all of its files are there
        remote.drop(name)
    for names in ([name for name in lacking if name not in listings], listings):
        if damaged := remote.take({name: cache.path(name) for name in names}, ["reflink", "copy"]):
            raise OSError(None, "what is read back is not what was written", str(remote.path(damaged[0])))
    return [*(name for name in lacking if name not in listings), *listings]
