"""Bring the branch of this clone up to that of the git remote, as `git merge --ff-only` would, around what lies here unreleased.

Git refuses to touch a file that differs from HEAD. Here dvc.yaml and dvc.lock may: they hold a stage for each dataset, so they are
merged stage by stage, and a neighbour's placed dataset stays placed. Files of the release that is under way may, too: they are written
again on top. Anything else that a person has changed, and others as well, is theirs to settle.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

from synthmill.errors import ReleaseError, WorkspaceError
from synthmill.store.files import publish_bytes
from synthmill.store.git import Entry, Git
from synthmill.store.lock import Progress
from synthmill.store.runs import runs_file
from synthmill.store.stage import Stage, merge_stages
from synthmill.store.upstream import Upstream, find_upstream
from synthmill.store.workspace import Workspace

SHARED = ("dvc.yaml", "dvc.lock")


def catch_up_with_remote(workspace: Workspace, dataset: str, progress: Progress) -> None:
    """Fetch, and bring this clone up to the git remote where there is one, so that it knows all releases."""
    with workspace.lock(progress) as (git, _):
        if upstream := find_upstream(git):
            stage = Stage(dataset, "", ())
            ours = (stage.metric, *stage.plots.values(), runs_file(dataset))
            with nothing_is_released(dataset):
                catch_up(workspace.root, git, upstream, ours, progress)


def learn_of_releases(workspace: Workspace, recipe: str, progress: Progress) -> None:
    """Fetch before the work begins, since a plan may go on from a released model; nothing is moved.

    WorkspaceError where the git remote has another recipe than this clone was made from. A remote that does not answer is a note: the
    work may take hours, and it is needed at the end alone.
    """
    if find_upstream(Git(workspace.root)) is None:
        return
    with workspace.lock(progress) as (git, _):
        upstream, head = find_upstream(git), git.head()
        if upstream is None or head is None:
            return
        try:
            tip = upstream.fetch()
        except ReleaseError as error:
            progress(f"note: {error.what}; the release will need {upstream.remote}")
            return
        if tip is None or git.is_ancestor(tip, head):
            return
        if git.read(git.run("merge-base", head, tip), recipe) != git.read(tip, recipe):
            hint = "`git pull` first, so that the run is of the recipe that the release names"
            raise WorkspaceError(f"{upstream.remote} has another version of the recipe", where=recipe, hint=hint)


@contextmanager
def nothing_is_released(dataset: str) -> Iterator[None]:
    """What a git remote refuses, with what that means and how to go on."""
    try:
        yield
    except ReleaseError as error:
        hint = f"{error.hint}\n  Nothing was released. Then run `synthmill release {dataset}` to go on: nothing is generated again."
        raise type(error)(error.what, where=error.where, hint=hint) from error


def catch_up(root: Path, git: Git, upstream: Upstream, ours: Collection[str], progress: Progress) -> None:
    """Fetch, and move the branch forward to the remote's. `ours`: paths that the release under way writes.

    ReleaseError where both have commits that the other lacks, WorkspaceError where local changes stand in the way; nothing is lost.
    """
    tip, head = upstream.fetch(), str(git.head())
    if tip is None or git.is_ancestor(tip, head):
        return
    if not git.is_ancestor(head, tip):
        here, there = (len(git.run("rev-list", f"{one}..{other}").split()) for one, other in ((tip, head), (head, tip)))
        raise ReleaseError(
            f"the branch has {here} commit(s) that {upstream.remote} lacks, and lacks {there} of its own",
            where=str(root),
            hint="`git pull --rebase`, then run again: the release goes on from there",
        )
    commits = len(git.run("rev-list", f"{head}..{tip}").split())
    while not bring_forward(root, git, head, tip, ours):
        head = str(git.head())
    progress(f"release: caught up with {upstream.remote}, {commits:,} commit{'s' if commits > 1 else ''}")


def bring_forward(root: Path, git: Git, old: str, new: str, ours: Collection[str]) -> bool:
    """Move branch, index and work tree from `old` to `new`, its descendant; False where somebody has moved the branch meanwhile.

    Index and work tree come first, so that a kill in between leaves what the next call takes for done.
    """
    changes = git.changes(old, new)
    changed = set(_changed_here(git, [pair for pair in changes if pair[1].path not in SHARED]))
    if conflicts := sorted(changed.difference(ours)):
        raise WorkspaceError(
            f"local changes stand in the way of what the git remote has: {', '.join(conflicts)}",
            where=str(root),
            hint="copy your own aside, `git checkout` those files, `git pull`, put your edit in again, and run again",
        )
    for _, will in changes:
        if will.path in SHARED:
            _merge(root, git, old, new, will.path)
    git.check_out([will for _, will in changes if will.path not in {*SHARED, *changed}])
    git.stage_entries([will for _, will in changes if will.path in changed])
    return git.advance(new, old, "fetch of the remote's branch")


def _changed_here(git: Git, changes: list[tuple[Entry, Entry]]) -> Iterator[str]:
    """Paths whose content in the index or the work tree is neither the old nor the new one. A deleted file is no loss."""
    paths = [will.path for _, will in changes]
    staged, standing = git.staged(paths), git.standing(paths)
    for was, will in changes:
        known = {was.blob, will.blob, ""}
        is_special = not all(entry.is_file or not entry.blob for entry in (was, will))
        if staged.get(will.path, "") not in known or not (is_special or standing.get(will.path, "") in known):
            yield will.path


def _merge(root: Path, git: Git, old: str, new: str, path: str) -> None:
    """Work tree and index of a shared file: what the remote has, with the stages that are changed here alone."""
    base, theirs = ((git.read(commit, path) or b"").decode() for commit in (old, new))
    standing = (root / path).read_text() if (root / path).exists() else base
    staged = (git.read("", path) or base.encode()).decode()
    publish_bytes(root / path, merge_stages(base, theirs, standing, path).encode())
    git.stage({path: merge_stages(base, theirs, staged, path).encode()})
