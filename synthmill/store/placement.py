"""`--place`: put a candidate that passed its gates into the work tree, without DVC and without a version.

A person's own changes are never overwritten. What stands at a place of ours is known when it is what dvc.lock, HEAD or our own
record of the last placement says; anything else is somebody's edit, and an error that lists the files.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from synthmill.errors import WorkspaceError
from synthmill.fingerprint import hash_file
from synthmill.store.exchange import heal, put_folder
from synthmill.store.files import publish_bytes
from synthmill.store.git import Git
from synthmill.store.objects import Tree, hash_bytes, read_tree
from synthmill.store.runs import foreign_lines, runs_file
from synthmill.store.stage import Stage, read_address, write_stage
from synthmill.store.versions import Identity, write_metrics


@dataclass(frozen=True, slots=True)
class ReleaseRequest:
    """A candidate that passed its gates, and all that a release says of it."""

    dataset: str
    recipe: str  # relative to the workspace; an uncommitted edit of it is committed with the release that it made
    recipe_sha256: str  # of the recipe as the run read it
    deps: tuple[str, ...]  # file sources, relative to the workspace: what DVC can hash
    candidate: Path
    metrics: Mapping[str, object]  # for metrics/NAME.json: no version, time, cost or host
    identity: Identity
    run_id: str
    run: Mapping[str, object]  # for runs/NAME.jsonl: time, user, usage, outcome

    @property
    def stage(self) -> Stage:
        """What dvc.yaml says of this dataset."""
        return Stage(self.dataset, self.recipe, self.deps)


def put(root: Path, git: Git, request: ReleaseRequest) -> Tree:
    """Put the candidate, its metrics and its stage in place; returns the candidate's tree. WorkspaceError on a conflict."""
    stage = request.stage
    heal(root / stage.out)
    standing, tree = read_tree(root / stage.out), read_tree(request.candidate)
    metrics = write_metrics(request.metrics, request.identity)
    refuse_conflicts(root, git, request, standing)

    # Recorded before the swap, so that what a kill leaves is known; what stands now is known too, in case the swap never comes.
    files = sorted({*standing.files.items(), *tree.files.items()})
    hashes = [hash_bytes(metrics), *_standing_metrics(root, stage)]
    publish_bytes(_record(root, stage), json.dumps({"files": files, "metrics": hashes}).encode())
    _write_if_new(root / "dvc.yaml", write_stage(read_text(root / "dvc.yaml"), stage).encode())
    _write_if_new(root / stage.metric, metrics)
    if standing.files != tree.files:
        put_folder(request.candidate, root / stage.out)
    return tree


def read_text(path: Path) -> str:
    """The text of a file, empty where there is none."""
    return path.read_text() if path.exists() else ""


def refuse_conflicts(root: Path, git: Git, request: ReleaseRequest, standing: Tree) -> None:
    """WorkspaceError that lists every path of ours in which a person's own work would be lost."""
    stage = request.stage
    record = _record(root, stage)
    placed = json.loads(record.read_bytes()) if record.exists() else {"files": [], "metrics": []}
    conflicts = _folder_conflicts(root, git, stage, standing, {(path, md5) for path, md5 in placed["files"]})
    known = {*placed["metrics"], hash_bytes(write_metrics(request.metrics, request.identity))}
    contents = {"": git.read("", stage.metric), "HEAD": git.read("HEAD", stage.metric)}
    hashes = {where: hash_bytes(content) for where, content in contents.items() if content is not None}
    if {*_standing_metrics(root, stage), *hashes.values()} - known - {hashes.get("HEAD")}:
        conflicts.append(stage.metric)
    if foreign_lines(root, git, request.dataset):
        conflicts.append(runs_file(request.dataset))
    ours = (stage.metric, runs_file(request.dataset), stage.recipe, "dvc.yaml", "dvc.lock")
    conflicts += [f"{path} (tracked by git)" for path in git.run("ls-files", "--", stage.out).splitlines()]
    conflicts += [f"{path} (unmerged)" for path in git.unmerged(ours)]
    if not (root / stage.recipe).is_file() or hash_file(root / stage.recipe) != request.recipe_sha256:
        conflicts.append(f"{stage.recipe} (changed since this run read it)")
    if conflicts:
        raise WorkspaceError(
            f"local changes stand in the way: {', '.join(conflicts)}",
            where=str(root),
            hint="Move them away, or delete them, and run again.",
        )


def _folder_conflicts(root: Path, git: Git, stage: Stage, standing: Tree, placed: set[tuple[str, str]]) -> list[str]:
    """Files in the dataset's folder that neither DVC nor we put there. A deleted file is no loss, so no conflict."""
    committed = (git.read("HEAD", "dvc.lock") or b"").decode()
    recorded = {read_address(text, stage.dataset) for text in (read_text(root / "dvc.lock"), committed)}
    if standing.address in recorded:
        return []
    known = placed.union(*(_listing_in_cache(root, address) for address in recorded if address))
    return [f"{stage.out}/{path}" for path, md5 in sorted(standing.files.items()) if (path, md5) not in known]


def _listing_in_cache(root: Path, address: str) -> set[tuple[str, str]]:
    path = root / ".dvc" / "cache" / "files" / "md5" / address[:2] / address[2:]
    entries = json.loads(path.read_bytes()) if path.exists() else []
    return {(entry["relpath"], entry["md5"]) for entry in entries}


def _record(root: Path, stage: Stage) -> Path:
    """What we placed last, and what stood there before: local, and only to tell our own files from a person's."""
    return root / ".synthmill" / "placed" / f"{stage.dataset}.json"


def _standing_metrics(root: Path, stage: Stage) -> list[str]:
    path = root / stage.metric
    return [hash_bytes(path.read_bytes())] if path.exists() else []


def _write_if_new(path: Path, content: bytes) -> None:
    if not path.exists() or path.read_bytes() != content:
        publish_bytes(path, content)
