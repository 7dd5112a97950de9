"""Releases on a disk that loses power at a chosen step, or is full: what was announced is there, and the next run goes on."""

import os
import shutil
from dataclasses import replace

import pytest
from support.power import is_possible, mounted
from support.releases import assert_clean, git, kill_at, quiet, request_of

from synthmill.errors import SynthmillError
from synthmill.store.objects import hash_file, read_tree
from synthmill.store.release_steps import release
from synthmill.store.workspace import create

OFTEN = ("dvc push", "git push", "done")
SELDOM = ("place", "dvc commit", "dvc relink", "git commit", "git tag")


@pytest.fixture(scope="module")
def pristine(tmp_path_factory):
    """The image of a disk with a workspace and a candidate, where it is mounted, and the two."""
    folder = tmp_path_factory.mktemp("power")
    if not is_possible(folder / "trial"):
        pytest.skip("no loop device can be mounted here")
    with mounted(folder / "disk", folder / "pristine") as disk:
        workspace = create(disk.folder / "ws")
        request = request_of(workspace)
        os.sync()
    return folder, workspace, request


@pytest.mark.parametrize("step", [*OFTEN, *(pytest.param(step, marks=pytest.mark.chaos) for step in SELDOM)])
def test_power_loss_at_a_step_is_healed_and_takes_nothing_that_was_announced(pristine, step):
    folder, workspace, request = pristine
    shutil.copyfile(folder / "pristine", folder / "image")
    with mounted(folder / "disk", folder / "image") as disk:
        wanted = read_tree(request.candidate)
        commits = int(git(workspace.root, "rev-list", "--count", "HEAD"))
        kill_at(workspace, request, step)
        disk.lose_power()
        if step == "done":
            assert git(workspace.root, "tag") == "tiny@v1.0.0"
        if git(workspace.root, "tag"):
            for name in wanted.objects():
                stored = workspace.root / "remote/files/md5" / name[:2] / name[2:]
                assert hash_file(stored) == name.removesuffix(".dir")
        done = release(workspace, replace(request, run_id="run-2"), quiet)
        assert (done.release.tag, git(workspace.root, "tag")) == ("tiny@v1.0.0", "tiny@v1.0.0")
        assert int(git(workspace.root, "rev-list", "--count", "HEAD")) == commits + 1
        assert read_tree(done.path).files == wanted.files
        assert_clean(workspace.root)
        git(workspace.root, "fsck", "--strict")


def test_a_disk_that_is_full_at_each_step_is_told_and_the_release_goes_on_with_more_room(pristine):
    folder, workspace, request = pristine
    shutil.copyfile(folder / "pristine", folder / "image")
    with mounted(folder / "disk", folder / "image") as disk:
        wanted = read_tree(request.candidate)
        lines, told = [], []
        for kilobytes in range(0, 4096, 40):
            disk.leave_free(kilobytes)
            lines.append("start")
            try:
                done = release(workspace, request, lines.append)
            except SynthmillError as error:
                told.append((lines[-1], str(error)))
                continue
            break
        assert len({line for line, _ in told}) >= 3, told
        for line, words in told:
            assert "full" in words or "No space left" in words, (line, words)
        assert (done.release.tag, git(workspace.root, "tag")) == ("tiny@v1.0.0", "tiny@v1.0.0")
        assert read_tree(done.path).files == wanted.files
        (disk.folder / "ballast").unlink()
        assert_clean(workspace.root)
        git(workspace.root, "fsck", "--strict")
