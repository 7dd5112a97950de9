"""Candidates made by hand and released for real: requests, clones of a workspace around one git remote, and what git and DVC say."""

from __future__ import annotations

import json
import os
import pickle
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from synthmill.fingerprint import hash_file
from synthmill.store.objects import hash_file as md5_of
from synthmill.store.placement import ReleaseRequest
from synthmill.store.stage import read_address
from synthmill.store.versions import Identity
from synthmill.store.workspace import Workspace, create, find

ONE = Identity(schema="s1", code="c1", plan="p1")
SCRIPT = """
import sys, pickle
from synthmill.store.pushes import forget_push
from synthmill.store.release_steps import release
workspace, request = pickle.load(sys.stdin.buffer)
done = release(workspace, request, lambda line: print(line, flush=True))
print("announced", done.release.tag, flush=True)
forget_push(workspace.root, request.dataset)
"""


def request_of(workspace: Workspace, name: str = "tiny", identity: Identity = ONE, rows: int = 3) -> ReleaseRequest:
    """A candidate of `rows` rows in state, and its recipe."""
    recipe = f"recipes/{name}.yaml"
    if not (workspace.root / recipe).exists():
        (workspace.root / recipe).write_text(f"format: 1\ndataset: {name}\n")
    candidate = workspace.state / "candidates" / f"{name}-{identity.plan}-{rows}"
    (candidate / "data").mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table({"x": range(rows)}), candidate / "data" / "synthetic-00000-of-00001.parquet")
    for file in ("README.md", "report.html", "manifest.json", "croissant.json"):
        (candidate / file).write_text(f"{file} of {name}, {rows} rows\n")
    sha256 = hash_file(workspace.root / recipe)
    metrics = {"rows": rows, "scores": {"fidelity/shape": 0.9}}
    run = {"user": "u", "seconds": 1.5}
    plots = {"scores": f"score,value\nfidelity/shape,0.{rows}\n".encode(), "columns": b"column,shape\nx,0.9\n"}
    return ReleaseRequest(name, recipe, sha256, (), candidate, metrics, plots, identity, "run-1", run)


def quiet(_: str) -> None:
    """Progress that nobody reads."""


def git(root: Path, *arguments: str) -> str:
    person = ["-c", "user.name=A Person", "-c", "user.email=person@example.org"]
    return subprocess.run(
        ["git", *person, *arguments], cwd=root, check=True, capture_output=True, text=True
    ).stdout.strip()


def run_dvc(root: Path, *arguments: str) -> str:
    command = [sys.executable, "-P", "-m", "dvc", *arguments]
    done = subprocess.run(command, cwd=root, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def assert_clean(root: Path) -> None:
    assert run_dvc(root, "status") == "Data and pipelines are up to date."
    assert git(root, "status", "--short", "--", "dvc.lock", "dvc.yaml", "metrics", "runs", "datasets") == ""
    assert not (root / ".git" / "index.lock").exists()


def kill_at(workspace: Workspace, request: ReleaseRequest, step: str) -> None:
    """Run a release in a process of its own, and kill it and its children (-9) when it announces the step."""
    with subprocess.Popen(
        [sys.executable, "-c", SCRIPT], stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True
    ) as process:
        process.stdin.write(pickle.dumps((workspace, request)))
        process.stdin.close()
        for line in process.stdout:
            if line.decode().strip() == f"release: {step}":
                os.killpg(process.pid, signal.SIGKILL)
                break
        process.wait()
    assert process.returncode == -signal.SIGKILL or step == "done"


# Clones around one git remote


@dataclass(frozen=True, slots=True)
class Fleet:
    """A bare git repository, and clones of it that share its DVC remote, each with local settings of its own."""

    origin: Path
    remote: Path
    clones: tuple[Workspace, ...]


def make_fleet(folder: Path, size: int) -> Fleet:
    """`size` clones of a new workspace."""
    origin, remote = folder / "origin.git", folder / "remote"
    first = create(folder / "first", remote=remote).root
    git(folder, "clone", "--quiet", "--bare", str(first), origin.name)
    return Fleet(origin, remote, tuple(clone(origin, folder / f"clone-{number}") for number in range(size)))


def clone(origin: Path, root: Path) -> Workspace:
    """A clone as a worker makes it."""
    git(origin.parent, "clone", "--quiet", str(origin), str(root))
    return find(root)


def start(workspace: Workspace, request: ReleaseRequest) -> subprocess.Popen[bytes]:
    """A release in a process of its own, which prints its progress and `announced TAG`."""
    process = subprocess.Popen(
        [sys.executable, "-c", SCRIPT],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    assert process.stdin is not None
    process.stdin.write(pickle.dumps((workspace, request)))
    process.stdin.close()
    process.stdin = None
    return process


def announced(process: subprocess.Popen[bytes]) -> str:
    """The tag that a release announced, once it has ended well."""
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err.decode()
    return out.decode().splitlines()[-1].removeprefix("announced ")


def remote_tags(origin: Path) -> dict[str, str]:
    """Every tag of the git remote with its commit."""
    lines = git(origin, "for-each-ref", "--format=%(refname:strip=2) %(*objectname)", "refs/tags").splitlines()
    return dict(line.split() for line in lines)


def released_files(fleet: Fleet, tag: str) -> dict[str, str]:
    """Path -> MD5 of a release as the remotes tell it, once every object was read back and is what its name says."""
    dataset = tag.partition("@")[0]
    address = read_address(git(fleet.origin, "show", f"{tag}:dvc.lock") + "\n", dataset)
    assert address is not None, tag
    listing = _object(fleet.remote, address)
    assert md5_of(listing) == address.removesuffix(".dir"), tag
    files = {entry["relpath"]: entry["md5"] for entry in json.loads(listing.read_bytes())}
    for md5 in files.values():
        assert md5_of(_object(fleet.remote, md5)) == md5, tag
    return files


def _object(remote: Path, name: str) -> Path:
    return remote / "files" / "md5" / name[:2] / name[2:]


def assert_linear(origin: Path) -> None:
    """No commit of the remote's branch has two parents."""
    assert git(origin, "rev-list", "--merges", "main") == ""
