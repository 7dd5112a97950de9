"""`--place` and `--release`: a candidate becomes a version, step by step, and any step may be the last one of a killed run.

    place -> dvc commit -> dvc relink -> dvc push -> git commit -> git tag -> git push

The tag alone makes a release visible. Every step does nothing where its work is done, so the next run of the same plan heals what a
killed one left; docs/adr/0002-release-protocol.md says, step by step, what that is.
"""

from __future__ import annotations

import random
import time
from dataclasses import dataclass, replace
from pathlib import Path

from synthmill.errors import ReleaseError, SupersededError, WorkspaceError
from synthmill.fingerprint import hash_file
from synthmill.store.catch_up import catch_up, nothing_is_released
from synthmill.store.dvc import Dvc
from synthmill.store.exchange import put_folder
from synthmill.store.files import publish_bytes
from synthmill.store.git import Git
from synthmill.store.lock import Progress, ShouldStop
from synthmill.store.objects import Tree, read_tree
from synthmill.store.placement import ANY, ReleaseRequest, put, put_figures, read_text, refuse_conflicts
from synthmill.store.pushes import Push, read_push, write_push
from synthmill.store.references import latest_beside, yanked
from synthmill.store.runs import runs_file, with_run
from synthmill.store.stage import read_address, read_entry, say_the_same, write_entry, write_stage
from synthmill.store.tombstones import read_tombstones
from synthmill.store.upstream import Upstream, find_upstream
from synthmill.store.versions import Release, is_release_tag, next_version, read_releases
from synthmill.store.workspace import Workspace

_UNFINISHED = ("MERGE_HEAD", "CHERRY_PICK_HEAD", "REVERT_HEAD", "rebase-merge", "rebase-apply")
_ATTEMPTS, _PAUSE_S, _MOST_PAUSE_S = 40, 0.1, 5.0  # of publishing beside others; the pause doubles up to its most
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

    Where there is a git remote, a release is there before it is here. WorkspaceError on local changes of a person, ReleaseError where
    git, DVC or a remote refuses, SupersededError, Interrupted; the next run goes on.
    """
    with workspace.lock(progress, should_stop) as (git, dvc):
        _refuse_unfinished_work(workspace.root, git)
        steps = _Steps(workspace.root, git, dvc, request, progress, find_upstream(git))
        steps.catch_up()
        found, is_new = steps.find(), False
        if found is None:
            steps.refuse_superseded()
            steps.prepare()
            found, is_new = steps.publish()
        if not is_new:
            steps.bring_back()
            steps.push_rest()
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
    upstream: Upstream | None

    def catch_up(self) -> None:
        """Bring this clone up to the git remote, where there is one."""
        if self.upstream is not None:
            ours = (*self.request.figures, runs_file(self.request.dataset))
            with nothing_is_released(self.request.dataset):
                catch_up(self.root, self.git, self.upstream, ours, self.progress)

    def find(self) -> Release | None:
        """The latest release, if it is of this plan; or the one that this plan was pushed as, if the answer never came.

        Purged bytes do not come back under their old version.
        """
        found, last = self._pushed(), self._last()
        if found is None and last and last.identity and last.identity.plan == self.request.identity.plan:
            found = last
        if found is None:
            return None
        if tombstone := read_tombstones(self.git, found.dataset).get(found.tag):
            self.progress(f"release: {tombstone}; this is a new version")
            return None
        if reason := yanked(self.git, found.dataset).get(found.version):
            self.progress(f"note: {found.tag}, which has these rows, is yanked: {reason}")
        return found

    def refuse_superseded(self) -> None:
        """SupersededError where the candidate was judged against another release than the latest."""
        if self.request.previous == ANY:
            return
        last = latest_beside(self.git, self.request.dataset, self.request.identity.plan)
        if (str(last.version) if last else None) != self.request.previous:
            raise SupersededError(f"{last.tag if last else 'no release'} is the latest now", where=self.request.dataset)

    def prepare(self) -> None:
        """Everything that nobody sees: the candidate in its place, in DVC's cache and on DVC's remote."""
        self.progress("release: place")
        tree = put(self.root, self.git, self.request)
        self._record(tree, self.request.candidate)
        self.progress("release: dvc push")
        self._upload(tree)

    def publish(self) -> tuple[Release, bool]:
        """The next version on the git remote, then here; or the version that somebody else gave this plan meanwhile, and False.

        Where somebody was faster with another plan, the commit is made again on top of theirs, under the version after theirs.
        """
        for attempt in range(_ATTEMPTS):
            if attempt:
                time.sleep(random.uniform(0, min(_MOST_PAUSE_S, _PAUSE_S * 2**attempt)))
                self.catch_up()
            if found := self.find():
                return found, False
            self.refuse_superseded()
            if made := self._make():
                return made, True
        raise ReleaseError("the branch keeps moving", where=str(self.root), hint="Run again when fewer commit here.")

    def _make(self) -> Release | None:
        """One attempt: commit, tag, and push both; None where somebody was faster."""
        if hash_file(self.root / self.request.recipe) != self.request.recipe_sha256:
            hint = "run again: what it has not changed is found, not made"
            raise WorkspaceError("the recipe changed since this run read it", where=self.request.recipe, hint=hint)
        tag = f"{self.request.dataset}@{next_version(self._last(), self.request.identity)}"
        self.progress("release: git commit")
        parent = str(self.git.head())
        files = self._contents("HEAD", tag)
        is_there = all(self.git.read(parent, path) == content for path, content in files.items())
        commit = parent if is_there else self.git.commit(files, parent, f"Release {tag}")
        self.progress("release: git tag")
        tags = {tag: self.git.make_tag(tag, commit)}
        self.progress("release: git push")
        if self.upstream:
            write_push(self.root, self.request.dataset, Push(self.request.identity.plan, tag, tags[tag]))
            with nothing_is_released(self.request.dataset):
                is_pushed = self.upstream.push(commit, {**self.upstream.unpushed(is_release_tag), **tags})
            if not is_pushed:
                return None
        # The index first: a user's commit in between then holds our files too, where it would otherwise undo ours.
        publish_bytes(self.root / runs_file(self.request.dataset), files[runs_file(self.request.dataset)])
        self.git.stage(self._contents("", tag))
        has_moved = not is_there and not self.git.advance(commit, parent, f"release {tag}")
        if has_moved and self.upstream is None:
            return None
        self.git.set_refs({f"refs/tags/{name}": made for name, made in tags.items()})
        return self._last()

    def push_rest(self) -> None:
        """Have releases on the git remote that were made while there was none."""
        for _ in range(_ATTEMPTS):
            rest = self.upstream.unpushed(is_release_tag) if self.upstream else {}
            if not self.upstream or not rest:
                return
            self.progress("release: git push")
            if self.upstream.push(str(self.git.head()), rest):
                return
            self.catch_up()
        raise ReleaseError("the branch keeps moving", where=str(self.root), hint="Run again when fewer commit here.")

    def _last(self) -> Release | None:
        return next(reversed(read_releases(self.git, self.request.dataset)), None)

    def _pushed(self) -> Release | None:
        """The release of this plan that the remote has taken from us, though others may have released since."""
        note = read_push(self.root, self.request.dataset)
        if self.upstream is None or note is None or note.plan != self.request.identity.plan:
            return None
        found = (found for found in read_releases(self.git, self.request.dataset) if found.tag == note.tag)
        return next(found, None) if self.upstream.has(note.tag, note.object) else None

    def bring_back(self) -> None:
        """The plan is released: see that the work tree holds what the latest release does, not what a second run of the plan made."""
        last = self._last()
        if last is None or last.identity is None:  # a person has tagged by hand since
            return
        committed = _text(self.git, last.commit, "dvc.lock")
        entry = read_entry(committed, self.request.dataset)
        figures = self.request.stage.plots
        plots = {
            name: found for name, path in figures.items() if (found := self.git.read(last.commit, path)) is not None
        }
        request = replace(self.request, metrics=last.metrics, identity=last.identity, plots=plots)
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
