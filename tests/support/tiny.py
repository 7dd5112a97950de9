"""Releases of a real dataset of 20 rows, made without a run: the stored example of format 1, whose card tells the versions apart."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from support.releases import git

from synthmill.fingerprint import hash_file
from synthmill.store.placement import ReleaseRequest
from synthmill.store.release_steps import release
from synthmill.store.versions import Identity
from synthmill.store.workspace import Workspace

EXAMPLE = Path(__file__).parents[1] / "formats" / "1" / "dataset"
RECIPE = """\
format: 1
dataset: tiny
source: {path: data/people.csv}
jobs: [{generator: table/noise, rows: 20}]
gates: {privacy/copies: {at_most: 1}, fidelity/shape: {at_least: 0.1}}
"""


def release_tiny(workspace: Workspace, number: int) -> Path:
    """The next release of `tiny`, a patch; returns its candidate."""
    recipe = workspace.root / "recipes/tiny.yaml"
    recipe.write_text(RECIPE)
    candidate = workspace.state / "candidates" / f"tiny-{number}"
    shutil.copytree(EXAMPLE, candidate)
    _tell_apart(candidate, number)
    scores = {"fidelity/shape": {"value": 0.9 + number / 100}, "privacy/copies": 0, "utility/tstr": {"value": 0.5}}
    identity = Identity(schema="s", code="c", plan=f"p{number}")
    request = ReleaseRequest(
        dataset="tiny",
        recipe="recipes/tiny.yaml",
        recipe_sha256=hash_file(recipe),
        deps=(),
        candidate=candidate,
        metrics={"rows": 20, "scores": scores},
        plots={"scores": b"score,value\n", "columns": b"column,shape\n"},
        identity=identity,
        run_id=f"run-{number}",
        run={"user": "u"},
    )
    release(workspace, request, lambda line: None)
    return candidate


def move(blank: Path, root: Path) -> None:
    """Copy a workspace whole, with the absolute paths that DVC asks for rewritten."""
    shutil.copytree(blank, root, symlinks=True)
    for name in ("config", "config.local"):
        path = root / ".dvc" / name
        path.write_text(path.read_text().replace(str(blank), str(root)))
    git(root, "commit", "--quiet", "-am", "Move the workspace")


def _tell_apart(candidate: Path, number: int) -> None:
    card, path = candidate / "README.md", candidate / "manifest.json"
    card.write_text(f"{card.read_text()}\nRelease {number}.\n")
    manifest = json.loads(path.read_text())
    [entry] = [entry for entry in manifest["files"] if entry["path"] == "README.md"]
    entry.update(sha256=hash_file(card), size_bytes=card.stat().st_size)
    path.write_text(json.dumps(manifest, indent=1) + "\n")
