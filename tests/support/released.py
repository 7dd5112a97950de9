"""Workspaces with releases that no run had to make: hand-made candidates whose manifests are true."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from synthmill.fingerprint import hash_file
from synthmill.store.git import Git
from synthmill.store.placement import ReleaseRequest
from synthmill.store.release_steps import release
from synthmill.store.stage import read_address
from synthmill.store.versions import Identity
from synthmill.store.workspace import Workspace, find

FORMATS = Path(__file__).parents[1] / "formats"


def move_workspace(blank: Path, root: Path) -> Workspace:
    """A copy of a workspace that `create` made, with its absolute paths rewritten: quicker than making another."""
    shutil.copytree(blank, root)
    for name in ("config", "config.local"):
        path = root / ".dvc" / name
        path.write_text(path.read_text().replace(str(blank), str(root)))
    git(root, "commit", "--quiet", "-am", "Move the workspace")
    return find(root)


def git(root: Path, *arguments: str) -> str:
    """What git says, as a person of its own."""
    person = ["-c", "user.name=A Person", "-c", "user.email=person@example.org"]
    command = ["git", *person, *arguments]
    return subprocess.run(command, cwd=root, check=True, capture_output=True, text=True).stdout.strip()


def make_candidate(
    workspace: Workspace, name: str = "tiny", rows: int = 3, plan: str = "p1", card: str = ""
) -> ReleaseRequest:
    """A candidate in state of `rows` rows; equal rows are equal files, an equal `card` is an equal README.md."""
    recipe = f"recipes/{name}.yaml"
    if not (workspace.root / recipe).exists():
        (workspace.root / recipe).write_text(f"format: 1\ndataset: {name}\n")
    folder = workspace.state / "candidates" / plan / "dataset"
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "data").mkdir(parents=True)
    pq.write_table(pa.table({"x": range(rows)}), folder / "data/synthetic-00000-of-00001.parquet")
    (folder / "README.md").write_text(card or f"{name}, {plan}\n")
    manifest = json.loads((FORMATS / "1/dataset/manifest.json").read_bytes())
    files = [
        {"path": path.relative_to(folder).as_posix(), "sha256": hash_file(path), "size_bytes": path.stat().st_size}
        | ({"rows": rows} if path.suffix == ".parquet" else {})
        for path in (folder / "README.md", folder / "data/synthetic-00000-of-00001.parquet")
    ]
    told = {**manifest, "dataset": name, "rows": rows, "plan": plan, "files": files}
    (folder / "manifest.json").write_text(json.dumps(told))
    sha256 = hash_file(workspace.root / recipe)
    identity = Identity(schema="s", code="c", plan=plan)
    run = {"user": "u", "seconds": 1.5}
    return ReleaseRequest(name, recipe, sha256, (), folder, {"rows": rows}, {}, identity, f"run-{plan}", run)


def make_release(
    workspace: Workspace, name: str = "tiny", rows: int = 3, plan: str = "p1", card: str = ""
) -> ReleaseRequest:
    """The same, released."""
    request = make_candidate(workspace, name, rows, plan, card)
    release(workspace, request, lambda line: None)
    return request


def object_of(workspace: Workspace, tag: str, path: str, store: str = ".dvc/cache") -> Path:
    """Where a store keeps the object of a released file; `path` is "" for the listing."""
    lock = Git(workspace.root).read(tag, "dvc.lock")
    address = read_address((lock or b"").decode(), tag.partition("@")[0])
    assert address is not None
    listing = place_of(workspace, address)
    listing = listing if listing.exists() else place_of(workspace, address, "remote")
    files = {entry["relpath"]: entry["md5"] for entry in json.loads(listing.read_bytes())}
    return place_of(workspace, files[path] if path else address, store)


def place_of(workspace: Workspace, name: str, store: str = ".dvc/cache") -> Path:
    """Where a store keeps an object."""
    return workspace.root / store / "files/md5" / name[:2] / name[2:]


def flip(path: Path) -> None:
    """Flip a bit of a read-only file, in place: its links see it, and DVC, which trusts the mode, does not."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.chmod(0o644)
    with path.open("r+b") as file:
        file.write(content)
    path.chmod(0o444)
