"""Does a release's manifest agree with what DVC lists of the folder? Told without the files: by their names, sizes and hashes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from pydantic import ValidationError

from synthmill.store.dvc import Found
from synthmill.store.manifest import NAME, Manifest


def sizes_of(manifest: str, files: Mapping[str, str]) -> dict[str, int]:
    """Object -> size in bytes, as the manifest's text says; nothing where it is broken. `files`: path -> object."""
    try:
        entries = Manifest.model_validate_json(manifest).files
    except ValidationError:
        return {}
    return {files[entry.path]: entry.size_bytes for entry in entries if entry.path in files}


def disagreements(manifest: str, files: Mapping[str, str], found: Mapping[str, Found]) -> Iterator[str]:
    """What the manifest's text says otherwise than the listing, and than the objects of which `found` knows what lies there."""
    try:
        told = Manifest.model_validate_json(manifest)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        yield f"broken at {'.'.join(map(str, first['loc'])) or 'its start'}: {first['msg']},"
        return
    entries = {entry.path: entry for entry in told.files}
    yield from (f"{path}, which the manifest does not name," for path in sorted(files.keys() - entries.keys() - {NAME}))
    yield from (f"{path}, which the listing does not name," for path in sorted(entries.keys() - files.keys()))
    for path in sorted(entries.keys() & files.keys()):
        entry, there = entries[path], found.get(files[path])
        if there is not None and there.sha256 is not None and entry.sha256 != there.sha256:
            yield f"another SHA-256 of {path}"
    counted = sum(entry.rows or 0 for path, entry in entries.items() if path.startswith("data/"))
    if counted != told.rows:
        yield f"{told.rows:,} rows where its files have {counted:,}"
