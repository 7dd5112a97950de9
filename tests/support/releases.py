"""Releases made by hand: as git sees them, with no data, or as small datasets whose every row is known."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

import yaml

from synthmill.store.git import Git
from synthmill.store.stage import Stage, write_entry, write_stage
from synthmill.store.versions import Identity, write_metrics


def md5(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


def provenance_of(
    *sources: Mapping[str, object], model: str = "m1", before: tuple[str, str] | None = None
) -> dict[str, object]:
    """What metrics format 3 says, of one job."""
    job: dict[str, object] = {"generator": "table/vae", "version": 3, "codec": 2, "model": model, "rows": 5}
    if before is not None:
        job["before"] = dict(zip(("model", "source"), before, strict=True))
    columns = [{"name": "x", "kind": "integer", "dtype": "int64", "nullable": False}]
    packages = [{"name": "torch", "version": "2.13.0"}]
    return {"format": 3, "sources": list(sources), "jobs": [job], "columns": columns, "packages": packages}


def tag_release(
    root: Path,
    tag: str,
    source: str | Mapping[str, object] | None,
    metrics: Mapping[str, object] | None = None,
    *,
    hashes: Mapping[str, str] | None = None,
    address: str | None = None,
    run: Mapping[str, object] | None = None,
) -> str:
    """A commit as a release makes it, and its tag; nothing of it is in DVC. The commit."""
    name, _, version = tag.partition("@")
    recipe = f"recipes/{name}.yaml"
    stage = Stage(name, recipe, tuple(hashes or ()))
    where = source if isinstance(source, Mapping) else {"path": source}
    content = yaml.safe_dump({"dataset": name, "source": where, "jobs": [{"generator": "table/vae", "rows": 5}]})
    deps = [{"path": path, "hash": "md5", "md5": found} for path, found in (hashes or {}).items()]
    entry: dict[str, object] = {"cmd": "x", "deps": [{"path": recipe, "md5": md5(content.encode())}, *deps]}
    if address is not None:
        entry["outs"] = [{"path": stage.out, "hash": "md5", "md5": address, "size": 1234, "nfiles": 7}]
    files = {
        f"metrics/{name}.json": write_metrics({"rows": 5, **(metrics or {})}, Identity("s", "c", f"plan-{tag}")),
        "dvc.yaml": write_stage("", stage).encode(),
        "dvc.lock": write_entry("", name, entry).encode(),
        recipe: content.encode() if source is not None else b"not: [a recipe",
    }
    if run is not None:
        files[f"runs/{name}.jsonl"] = (json.dumps({"version": version, **run}) + "\n").encode()
    git = Git(root)
    commit = git.commit(files, git.head(), tag)
    git.tag(tag, commit)
    return commit
