"""`--place`: put a candidate that passed its gates into the work tree, without DVC and without a version.

A person's own changes are never overwritten. What stands at a place of ours is known when it is what dvc.lock, HEAD or our own
record of the last placement says; anything else is somebody's edit, and an error that lists the files.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
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
from synthmill.store.versions import Identity, read_releases, write_metrics

ANY = "any"


@dataclass(frozen=True, slots=True)
class ReleaseRequest:
    """A candidate that passed its gates, and all that a release says of it."""

    dataset: str
    recipe: str  # relative to the workspace; an uncommitted edit of it is committed with the release that it made
    recipe_sha256: str  # of the recipe as the run read it
    deps: tuple[str, ...]  # file sources, relative to the workspace: what DVC can hash
    candidate: Path
    metrics: Mapping[str, object]  # for metrics/NAME.json: no version, time, cost or host
    plots: Mapping[str, bytes]  # of each of the stage's plots; empty for a release that was made before there were any
    identity: Identity
    run_id: str
    run: Mapping[str, object]  # for runs/NAME.jsonl: time, user, usage, outcome
    previous: str | None = (
        ANY  # version of the release that it was judged against, None for none; ANY where it does not matter
    )

    @property
    def stage(self) -> Stage:
        """What dvc.yaml says of this dataset."""
        return Stage(self.dataset, self.recipe, self.deps, has_plots=bool(self.plots))

    @property
    def figures(self) -> dict[str, bytes]:
        """The files under metrics/, path -> content."""
        stage = self.stage
        plots = {path: self.plots[name] for name, path in stage.plots.items()}
        return {stage.metric: write_metrics(self.metrics, self.identity), **plots}


def put(root: Path, git: Git, request: ReleaseRequest) -> Tree:
    """Put the candidate, its figures and its stage in place; returns the candidate's tree. WorkspaceError on a conflict."""
    stage = request.stage
    heal(root / stage.out)
    standing, tree = read_tree(root / stage.out), read_tree(request.candidate)
    refuse_conflicts(root, git, request, standing)

    # Recorded before the swap, so that what a kill leaves is known; what stands now is known too, in case the swap never comes.
    files = sorted({*standing.files.items(), *tree.files.items()})
    hashes = [
        hash_bytes(content) for content in (*request.figures.values(), *_standing_figures(root, request).values())
    ]
    publish_bytes(_record(root, stage), json.dumps({"files": files, "metrics": hashes}).encode())
    put_figures(root, request)
    if standing.files != tree.files:
        put_folder(request.candidate, root / stage.out)
    return tree


def put_figures(root: Path, request: ReleaseRequest) -> None:
    """Write the stage and what lies under metrics/, where they are not there yet."""
    stage = request.stage
    _write_if_new(root / "dvc.yaml", write_stage(read_text(root / "dvc.yaml"), stage).encode())
    for path, content in request.figures.items():
        _write_if_new(root / path, content)


def read_text(path: Path) -> str:
    """The text of a file, empty where there is none."""
    return path.read_text() if path.exists() else ""


def refuse_conflicts(root: Path, git: Git, request: ReleaseRequest, standing: Tree) -> None:
    """WorkspaceError that lists every path of ours in which a person's own work would be lost."""
    stage = request.stage
    record = _record(root, stage)
    placed = json.loads(record.read_bytes()) if record.exists() else {"files": [], "metrics": []}
    conflicts = _folder_conflicts(root, git, stage, standing, {(path, md5) for path, md5 in placed["files"]})
    conflicts += _figure_conflicts(root, git, request, set(placed["metrics"]))
    if foreign_lines(root, git, request.dataset):
        conflicts.append(runs_file(request.dataset))
    ours = (*request.figures, runs_file(request.dataset), stage.recipe, "dvc.yaml", "dvc.lock")
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
    if standing.address in recorded or standing.address in _released_addresses(git, stage.dataset):
        return []
    known = placed.union(*(_listing_in_cache(root, address) for address in recorded if address))
    return [f"{stage.out}/{path}" for path, md5 in sorted(standing.files.items()) if (path, md5) not in known]


def _released_addresses(git: Git, dataset: str) -> Iterator[str | None]:
    """What the folder was in each release, the latest first; the branch may have moved on from the one that stands here."""
    for release in reversed(read_releases(git, dataset)):
        yield read_address((git.read(release.commit, "dvc.lock") or b"").decode(), dataset)


def _figure_conflicts(root: Path, git: Git, request: ReleaseRequest, placed: set[str]) -> list[str]:
    """Files under metrics/ whose content, on disk or staged, is neither HEAD's nor ours."""
    known = {*placed, *map(hash_bytes, request.figures.values())}
    standing = _standing_figures(root, request)
    conflicts = []
    for path in request.figures:
        committed = git.read("HEAD", path)
        found = {hash_bytes(content) for content in (standing.get(path), git.read("", path)) if content is not None}
        if found - known - ({hash_bytes(committed)} if committed is not None else set()):
            conflicts.append(path)
    return conflicts


def _listing_in_cache(root: Path, address: str) -> set[tuple[str, str]]:
    path = root / ".dvc" / "cache" / "files" / "md5" / address[:2] / address[2:]
    entries = json.loads(path.read_bytes()) if path.exists() else []
    return {(entry["relpath"], entry["md5"]) for entry in entries}


def _record(root: Path, stage: Stage) -> Path:
    """What we placed last, and what stood there before: local, and only to tell our own files from a person's."""
    return root / ".synthmill" / "placed" / f"{stage.dataset}.json"


def _standing_figures(root: Path, request: ReleaseRequest) -> dict[str, bytes]:
    return {path: (root / path).read_bytes() for path in request.figures if (root / path).exists()}


def _write_if_new(path: Path, content: bytes) -> None:
    if not path.exists() or path.read_bytes() != content:
        publish_bytes(path, content)
