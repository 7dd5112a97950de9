"""What is about to be pushed, noted for as long as nobody has been told what became of it.

A run that is killed once its push was done, and comes again, is so told from one that goes back to an older plan, although other clones
may have released since.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from synthmill.store.files import publish_json


@dataclass(frozen=True, slots=True)
class Push:
    """A plan on its way to the git remote as a tag; `object` is the tag's."""

    plan: str
    tag: str
    object: str


def write_push(root: Path, dataset: str, push: Push) -> None:
    """Note it, before it is done."""
    publish_json(_note(root, dataset), asdict(push))


def read_push(root: Path, dataset: str) -> Push | None:
    """The last one that nobody was told of."""
    path = _note(root, dataset)
    return Push(**json.loads(path.read_bytes())) if path.exists() else None


def forget_push(root: Path, dataset: str) -> None:
    """The release was told of: the same plan once more may be meant to go back to it."""
    _note(root, dataset).unlink(missing_ok=True)


def _note(root: Path, dataset: str) -> Path:
    return root / ".synthmill" / "pushing" / f"{dataset}.json"
