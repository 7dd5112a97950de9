"""`--place` and `--release`: a candidate becomes a version, step by step, and any step may be the last one of a killed run.

    place -> dvc commit -> dvc relink -> dvc push -> git commit -> git tag -> git push

The tag alone makes a release visible. Every step does nothing where its work is done, so the next run of the same plan heals what a
killed one left; docs/adr/0002-release-protocol.md says, step by step, what that is.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from synthmill.errors import ReleaseError, WorkspaceError
from synthmill.store.dvc import Dvc
from synthmill.store.exchange import put_folder
from synthmill.store.files import publish_bytes
from synthmill.store.git import Git
from synthmill.store.lock import Progress, ShouldStop
from synthmill.store.objects import Tree, read_tree
from synthmill.store.placement import ReleaseRequest, put, put_figures, read_text, refuse_conflicts
from synthmill.store.runs import runs_file, with_run
from synthmill.store.stage import read_address, read_entry, say_the_same, write_entry, write_stage
from synthmill.store.versions import Identity, Release, next_version, read_releases
from synthmill.store.workspace import Workspace

_UNFINISHED = ("MERGE_HEAD", "CHERRY_PICK_HEAD", "REVERT_HEAD", "rebase-merge", "rebase-apply")
_COMMIT_ATTEMPTS = 5
_DVC_IGNORE = "datasets/.gitignore"  # DVC writes it where the workspace's .gitignore does not cover datasets/


@dataclass(frozen=True, slots=True)
class Released:
    """The release that a plan has; `is_new` where this run made it."""

    release: Release
    path: Path
    is_new: bool


def place(workspace: Workspace, request: ReleaseRequest, progress: Progress) -> Path:
    """Put the candidate in datasets/NAME, its scores in metrics/ and its stage in dvc.yaml; DVC is not called."""
    with workspace.lock(progress) as (git, _):
        progress("release: place")
        put(workspace.root, git, request)
    progress("release: placed")
    return workspace.root / request.stage.out


def release(
    workspace: Workspace, request: ReleaseRequest, progress: Progress, should_stop: ShouldStop = lambda: False
) -> Released:
    """Place the candidate and publish it under the next version; the existing one where its plan is already the latest.

    WorkspaceError on local changes of a person, ReleaseError where git, DVC or a remote refuses, Interrupted; the next run goes on.
    """
    with workspace.lock(progress, should_stop) as (git, dvc):
        _refuse_unfinished_work(workspace.root, git)
        steps = _Steps(workspace.root, git, dvc, request, progress)
        last = next(reversed(read_releases(git, request.dataset)), None)
        if last and last.identity and last.identity.plan == request.identity.plan:
            steps.bring_back(last, last.identity)
            found, is_new = last, False
        else:
            found, is_new = steps.make(last), True
        progress("release: git push")
        _publish(git, found.tag)
    progress("release: done")
    return Released(found, workspace.root / request.stage.out, is_new)


def releases(workspace: Workspace, dataset: str | None = None) -> list[Release]:
    """Every release of one dataset, or of all, by name and version."""
    return read_releases(Git(workspace.root), dataset)


@dataclass(frozen=True, slots=True)
class _Steps:
    """One release on its way, with the lock held."""

    root: Path
    git: Git
    dvc: Dvc
    request: ReleaseRequest
    progress: Progress

    def make(self, last: Release | None) -> Release:
        """The next version after `last`, up to its tag."""
        self.progress("release: place")
        tree = put(self.root, self.git, self.request)
        self._record(tree, self.request.candidate)
        self.progress("release: dvc push")
        self._upload(tree)
        self.progress("release: git commit")
        tag = f"{self.request.dataset}@{next_version(last, self.request.identity)}"
        commit = self._commit(tag)
        self.progress("release: git tag")
        self.git.tag(tag, commit)
        return read_releases(self.git, self.request.dataset)[-1]

    def bring_back(self, last: Release, identity: Identity) -> None:
        """The plan is released: see that the work tree holds what was released, not what a second run of the plan made."""
        committed = _text(self.git, last.commit, "dvc.lock")
        entry = read_entry(committed, self.request.dataset)
        figures = self.request.stage.plots
        plots = {
            name: found for name, path in figures.items() if (found := self.git.read(last.commit, path)) is not None
        }
        request = replace(self.request, metrics=last.metrics, identity=identity, plots=plots)
        self.progress("release: place")
        if entry is None or read_address(committed, request.dataset) == read_tree(request.candidate).address:
            self._record(put(self.root, self.git, request), request.candidate)
            return
        # another machine, or a GPU, made other bytes of the same plan
        out = self.root / request.stage.out
        refuse_conflicts(self.root, self.git, request, read_tree(out))
        put_figures(self.root, request)
        lock = write_entry(read_text(self.root / "dvc.lock"), request.dataset, entry)
        publish_bytes(self.root / "dvc.lock", lock.encode())
        self.dvc.restore(request.stage.out)
        self._record(read_tree(out), out)

    def _record(self, tree: Tree, source: Path) -> None:
        """Put the placed bytes in DVC's cache and dvc.lock, and link the work tree to them."""
        dataset, out = self.request.dataset, self.request.stage.out
        for is_second_try in (False, True):
            self.progress("release: dvc commit")
            damaged = self.dvc.commit(dataset, out, tree)
            if not damaged:
                self.progress("release: dvc relink")
                self.dvc.relink(out, tree)
                return
            if not is_second_try and source != self.root / out:
                put_folder(source, self.root / out)
        raise ReleaseError(
            f"{len(damaged)} files are not as they were placed",
            where=str(self.root / out / damaged[0]),
            hint="Check the disk and run again.",
        )

    def _upload(self, tree: Tree) -> None:
        """See that the remote holds every object, byte for byte, and not only that DVC believes so."""
        self.dvc.push(self.request.dataset, tree)

    def _commit(self, tag: str) -> str:
        """The commit to tag: HEAD where it says all this (a run was killed before its tag), else a new one on top."""
        runs = runs_file(self.request.dataset)
        for _ in range(_COMMIT_ATTEMPTS):
            parent = str(self.git.head())
            files = self._contents("HEAD", tag)
            if all(self.git.read(parent, path) == content for path, content in files.items()):
                return parent
            publish_bytes(self.root / runs, files[runs])
            # The index first: a user's commit in between then holds our files too, where it would otherwise undo ours.
            self.git.stage(self._contents("", tag))
            commit = self.git.commit(files, parent, f"Release {tag}")
            if self.git.advance(commit, parent, f"release {tag}"):
                return commit
        raise ReleaseError("the branch keeps moving", where=str(self.root), hint="Run again when nobody commits here.")

    def _contents(self, base: str, tag: str) -> dict[str, bytes]:
        """Our paths as they are to be committed; shared files are those of `base` (HEAD, or "" for the index) with our stage."""
        stage, runs = self.request.stage, runs_file(self.request.dataset)
        entry = read_entry(read_text(self.root / "dvc.lock"), stage.dataset)
        assert entry is not None, "dvc commit writes the entry"
        shared = {
            "dvc.yaml": write_stage(_text(self.git, base, "dvc.yaml"), stage),
            "dvc.lock": write_entry(_text(self.git, base, "dvc.lock"), stage.dataset, entry),
        }
        texts = {path: _as_in_work_tree(self.root / path, text) for path, text in shared.items()}
        line = {**self.request.run, "version": tag.partition("@")[2]}
        texts[runs] = with_run(_text(self.git, "HEAD", runs), self.request.run_id, self.request.identity.plan, line)
        own = [stage.recipe, *self.request.figures]
        if (self.root / _DVC_IGNORE).exists():
            own.append(_DVC_IGNORE)
        return {path: text.encode() for path, text in texts.items()} | {
            path: (self.root / path).read_bytes() for path in own
        }


def _as_in_work_tree(path: Path, text: str) -> str:
    """The work tree's own text where it says the same, so that comments are as the person wrote them."""
    standing = read_text(path)
    return standing if say_the_same(standing, text) else text


def _publish(git: Git, tag: str) -> None:
    try:
        git.publish(tag)
    except ReleaseError as error:
        step = (
            "It is released here. Mend what git names (`git pull` where the branch has moved) and run again to push it."
        )
        raise ReleaseError(f"{tag} did not reach the git remote: {error.what}", where=error.where, hint=step) from error


def _refuse_unfinished_work(root: Path, git: Git) -> None:
    if git.head() is None:
        raise WorkspaceError(
            "git has no commit yet", where=str(root), hint="Commit once, or run `synthmill init` there."
        )
    for name in _UNFINISHED:
        if git.git_path(name).exists():
            raise WorkspaceError(
                f"git is in the middle of something ({name})", where=str(root), hint="Finish or abort it first."
            )


def _text(git: Git, revision: str, path: str) -> str:
    return (git.read(revision, path) or b"").decode()
