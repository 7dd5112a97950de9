"""Small JSON that proves itself: it holds the hash of its content, so that a flipped byte in it is found."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any


def seal(content: Mapping[str, object]) -> bytes:
    """The content with its hash; equal content gives equal bytes."""
    return (json.dumps({"content": content, "sha256": _hash(content)}, sort_keys=True, indent=1) + "\n").encode()


def unseal(data: bytes) -> dict[str, Any] | None:
    """The content; None where it is not what it was."""
    try:
        found = json.loads(data)
        content: dict[str, Any] = found["content"]
        return content if isinstance(content, dict) and found["sha256"] == _hash(content) else None
    except (ValueError, KeyError, TypeError):
        return None


def _hash(content: Mapping[str, object]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
