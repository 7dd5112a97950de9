"""Versioned hashes of what changes the data, and of nothing else.

What goes into each fingerprint is decided where it is made (plan.py); here is only how it is hashed, so that it stays the
same for years: canonical JSON, SHA-256, 32 hex digits. Raise FORMAT when that changes: every model and shard is then made anew.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

FORMAT = 1
_BLOCK_BYTES = 1 << 20


def fingerprint(kind: str, parts: Mapping[str, object]) -> str:
    """32 hex digits of `parts`, which must be plain JSON values; key order does not matter, NaN is refused."""
    text = json.dumps(
        {"format": FORMAT, "kind": kind, "parts": parts}, sort_keys=True, separators=(",", ":"), allow_nan=False
    )
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def hash_file(path: Path) -> str:
    """SHA-256 of a file's bytes as 64 hex digits, in constant memory."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK_BYTES):
            digest.update(block)
    return digest.hexdigest()


def hash_folder(folder: Path) -> str:
    """SHA-256 over (relative path, file hash) of every file under `folder`, in name order."""
    digest = hashlib.sha256()
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        digest.update(f"{path.relative_to(folder).as_posix()}\0{hash_file(path)}\n".encode())
    return digest.hexdigest()
