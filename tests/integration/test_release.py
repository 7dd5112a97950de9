"""Releases into real git and DVC repositories: what is made, what others can read, what stands in the way, what a kill leaves."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace

import pyarrow.parquet as pq
import pytest
from support.releases import ONE, assert_clean, git, kill_at, quiet, request_of, run_dvc

from synthmill.errors import BusyError, Interrupted, ReleaseError, WorkspaceError
from synthmill.store.exchange import exchange, heal
from synthmill.store.lock import hold
from synthmill.store.objects import read_tree
from synthmill.store.release_steps import place, release, releases
from synthmill.store.versions import Identity, Version, next_version, read_releases, write_metrics
from synthmill.store.workspace import create, find

STEPS = ("place", "dvc commit", "dvc relink", "dvc push", "git commit", "git tag", "git push", "done")


@pytest.fixture(scope="module")
def blank(tmp_path_factory):
    return create(tmp_path_factory.mktemp("blank") / "ws").root


@pytest.fixture
def workspace(blank, tmp_path):
    """A fresh workspace: a copy of one that `create` made, with its absolute paths rewritten."""
    root = tmp_path / "ws"
    shutil.copytree(blank, root)
    for name in ("config", "config.local"):
        path = root / ".dvc" / name
        path.write_text(path.read_text().replace(str(blank), str(root)))
    git(root, "commit", "--quiet", "-am", "Move the workspace")
    return find(root)


# What a workspace is


def test_workspace_is_made_once_and_mended_by_a_second_call(tmp_path):
    root = create(tmp_path / "ws").root
    (root / "synthmill.toml").write_text('author = "Me <me@example.org>"\n')
    shutil.rmtree(root / "recipes")
    again = create(tmp_path / "ws")
    assert again.settings.author == "Me <me@example.org>"
    assert (root / "recipes").is_dir()
    assert git(root, "rev-list", "--count", "HEAD") == "1"
    assert find(root / "recipes").root == root


def test_workspace_inside_another_repository_is_its_own(workspace):
    assert create(workspace.root / "demo").root == workspace.root / "demo"
    assert git(workspace.root / "demo", "rev-list", "--count", "HEAD") == "1"


def test_folder_that_is_no_workspace_is_named(tmp_path, workspace):
    with pytest.raises(WorkspaceError, match=r"no Synthmill workspace(.|\n)*synthmill init"):
        find(tmp_path.parent)
    (workspace.root / "synthmill.toml").write_text('stat = "elsewhere"\n')
    with pytest.raises(WorkspaceError, match=r"unknown key stat\n  did you mean state"):
        find(workspace.root)
    (tmp_path / "file").touch()
    with pytest.raises(WorkspaceError, match="a file is in the way"):
        create(tmp_path / "file")


# What a release is


def test_first_release_is_one_commit_and_one_annotated_tag(workspace):
    before = git(workspace.root, "rev-list", "--count", "HEAD")
    lines = []
    done = release(workspace, request_of(workspace), lines.append)
    assert (done.release.tag, done.is_new, done.path) == ("tiny@v1.0.0", True, workspace.root / "datasets/tiny")
    assert lines == [f"release: {step}" for step in STEPS]
    assert int(git(workspace.root, "rev-list", "--count", "HEAD")) == int(before) + 1
    assert git(workspace.root, "cat-file", "-t", "tiny@v1.0.0") == "tag"
    assert git(workspace.root, "status", "--short") == ""
    assert_clean(workspace.root)
    run = json.loads((workspace.root / "runs/tiny.jsonl").read_text())
    assert run == {"run": "run-1", "plan": "p1", "user": "u", "seconds": 1.5, "version": "v1.0.0"}


def test_work_tree_shares_its_bytes_with_the_cache(workspace):
    request = request_of(workspace)
    release(workspace, request, quiet)
    name = read_tree(request.candidate).files["README.md"]
    cached = workspace.root / ".dvc/cache/files/md5" / name[:2] / name[2:]
    assert (workspace.root / "datasets/tiny/README.md").samefile(cached)


def test_others_read_the_release_by_name_and_version(workspace, tmp_path):
    import dvc.api
    import gto.api

    request = request_of(workspace)
    release(workspace, request, quiet)
    release(workspace, request_of(workspace, identity=replace(ONE, plan="p2"), rows=5), quiet)
    url, tag, wanted = str(workspace.root), "tiny@v1.0.0", read_tree(request.candidate).files
    run_dvc(tmp_path, "get", url, "datasets/tiny", "--rev", tag, "-o", "got")
    run_dvc(tmp_path, "artifacts", "get", url, "tiny", "--rev", "v1.0.0", "-o", "pinned")
    dvc.api.DVCFileSystem(url, rev=tag).get("datasets/tiny", str(tmp_path / "opened"), recursive=True)
    for folder in ("got", "pinned", "opened"):
        assert read_tree(tmp_path / folder).files == wanted, folder
    assert gto.api.show(url, name="tiny")[-1]["version"] in ("v1.0.0", "v1.0.1")
    assert dvc.api.artifacts_show("tiny", version="v1.0.0", repo=url)["path"] == "datasets/tiny"


def test_a_clone_pulls_what_was_released(workspace, tmp_path):
    request = request_of(workspace)
    release(workspace, request, quiet)
    git(tmp_path, "clone", "--quiet", str(workspace.root), "clone")
    run_dvc(tmp_path / "clone", "pull")
    assert read_tree(tmp_path / "clone/datasets/tiny").files == read_tree(request.candidate).files


def test_releases_are_read_back_from_tags(workspace):
    release(workspace, request_of(workspace), quiet)
    release(workspace, request_of(workspace, identity=replace(ONE, plan="p2"), rows=5), quiet)
    found = releases(workspace)
    assert [(item.tag, item.rows) for item in found] == [("tiny@v1.0.0", 3), ("tiny@v1.0.1", 5)]
    assert found[1].metrics["scores"] == {"fidelity/shape": 0.9}
    assert found[1].commit == git(workspace.root, "rev-parse", "HEAD")
    assert releases(workspace, "other") == []


def test_same_plan_twice_names_the_existing_release(workspace):
    release(workspace, request_of(workspace), quiet)
    head = git(workspace.root, "rev-parse", "HEAD")
    shutil.rmtree(workspace.root / "datasets/tiny")
    again = release(workspace, replace(request_of(workspace), run_id="run-2"), quiet)
    assert (again.release.tag, again.is_new) == ("tiny@v1.0.0", False)
    assert git(workspace.root, "rev-parse", "HEAD") == head
    assert read_tree(again.path).files == read_tree(request_of(workspace).candidate).files
    assert_clean(workspace.root)


def test_other_bytes_of_a_released_plan_give_way_to_the_released_ones(workspace):
    first = request_of(workspace)
    release(workspace, first, quiet)
    again = release(workspace, request_of(workspace, rows=4), quiet)
    assert not again.is_new
    assert read_tree(again.path).files == read_tree(first.candidate).files
    assert_clean(workspace.root)


def test_place_swaps_the_dataset_in_without_a_version(workspace):
    place(workspace, request_of(workspace), quiet)
    path = place(workspace, request_of(workspace, identity=replace(ONE, plan="p2"), rows=5), quiet)
    assert pq.read_table(path / "data").num_rows == 5
    assert not (workspace.root / "dvc.lock").exists()
    assert git(workspace.root, "tag") == ""


# What a release leaves alone


def test_neighbours_unreleased_stage_is_not_published(workspace):
    place(workspace, request_of(workspace, "neighbour"), quiet)
    run_dvc(workspace.root, "commit", "--force", "neighbour")
    release(workspace, request_of(workspace), quiet)
    for file in ("dvc.lock", "dvc.yaml"):
        assert "neighbour" not in git(workspace.root, "show", f"HEAD:{file}")
        assert "neighbour" in (workspace.root / file).read_text()
    assert run_dvc(workspace.root, "status") == "Data and pipelines are up to date."
    release(workspace, request_of(workspace, "neighbour"), quiet)
    assert git(workspace.root, "status", "--short") == ""


def test_what_the_user_staged_stays_staged_and_uncommitted(workspace):
    (workspace.root / "notes.txt").write_text("mine\n")
    git(workspace.root, "add", "notes.txt")
    release(workspace, request_of(workspace), quiet)
    assert git(workspace.root, "status", "--short") == "A  notes.txt"


def test_comments_and_other_stages_in_dvc_yaml_are_kept(workspace):
    mine = "# mine\nstages:\n  prepare:  # by hand\n    cmd: echo  # say it\n    frozen: true\n"
    (workspace.root / "dvc.yaml").write_text(mine)
    git(workspace.root, "commit", "-qam", "mine")
    release(workspace, request_of(workspace), quiet)
    assert (workspace.root / "dvc.yaml").read_text().startswith(mine)
    assert git(workspace.root, "show", "HEAD:dvc.yaml") + "\n" == (workspace.root / "dvc.yaml").read_text()


def test_recipe_edit_is_committed_with_its_release(workspace):
    release(workspace, request_of(workspace), quiet)
    (workspace.root / "recipes/tiny.yaml").write_text("format: 1\ndataset: tiny\nseed: 8\n")
    release(workspace, request_of(workspace, identity=replace(ONE, plan="p2"), rows=5), quiet)
    assert git(workspace.root, "show", "tiny@v1.0.1:recipes/tiny.yaml").endswith("seed: 8")


# Versions


@pytest.mark.parametrize(
    ("identity", "version"),
    [
        (Identity("s2", "c2", "p2"), Version(2, 0, 0)),
        (Identity("s1", "c2", "p2"), Version(1, 1, 0)),
        (Identity("s1", "c1", "p2"), Version(1, 0, 1)),
    ],
)
def test_version_says_what_changed(workspace, identity, version):
    with workspace.lock(quiet) as (repository, _):
        commit = repository.commit({"metrics/tiny.json": metrics_of(ONE)}, repository.head(), "by hand")
        repository.tag("tiny@v1.0.0", commit)
        last = read_releases(repository, "tiny")[-1]
    assert next_version(last, identity) == version


def metrics_of(identity: Identity) -> bytes:
    return write_metrics({"rows": 3}, identity)


def test_version_after_a_tag_made_by_hand_is_a_major_one(workspace):
    git(workspace.root, "tag", "-a", "tiny@v3.1.4", "-m", "by hand")
    assert release(workspace, request_of(workspace), quiet).release.tag == "tiny@v4.0.0"


# What stands in the way


def test_bare_machine_releases_as_synthmill(workspace, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("GIT_CONFIG_GLOBAL", "GIT_CONFIG_SYSTEM"):
        monkeypatch.setenv(name, os.devnull)
    release(workspace, request_of(workspace), quiet)
    assert git(workspace.root, "log", "-1", "--format=%an <%ae> %cn") == "Synthmill <synthmill@localhost> Synthmill"
    assert "Synthmill <synthmill@localhost>" in git(workspace.root, "cat-file", "-p", "tiny@v1.0.0")


@pytest.mark.parametrize(
    "path",
    [
        "datasets/tiny/README.md",
        "datasets/tiny/mine.txt",
        "metrics/tiny.json",
        "metrics/tiny-scores.csv",
        "runs/tiny.jsonl",
    ],
)
def test_local_change_is_never_overwritten(workspace, path):
    release(workspace, request_of(workspace), quiet)
    edited = workspace.root / path
    edited.unlink(missing_ok=True)  # it is a link to the cache
    edited.write_text("mine\n")
    second = request_of(workspace, identity=replace(ONE, plan="p2"), rows=5)
    with pytest.raises(WorkspaceError, match=path):
        release(workspace, second, quiet)
    assert edited.read_text() == "mine\n"
    edited.unlink()
    assert release(workspace, second, quiet).release.tag == "tiny@v1.0.1"
    assert_clean(workspace.root)


def test_recipe_that_changed_during_the_run_is_refused(workspace):
    request = request_of(workspace)
    (workspace.root / request.recipe).write_text("format: 1\ndataset: tiny\nseed: 9\n")
    with pytest.raises(WorkspaceError, match=r"recipes/tiny.yaml \(changed since"):
        release(workspace, request, quiet)
    assert not (workspace.root / "datasets/tiny").exists()


def test_unreachable_dvc_remote_leaves_no_commit_and_the_next_run_goes_on(workspace):
    head = git(workspace.root, "rev-parse", "HEAD")
    (workspace.root / "remote").rename(workspace.root / ".synthmill/unplugged")
    with pytest.raises(ReleaseError, match=r"remote .* is not there") as caught:
        release(workspace, request_of(workspace), quiet)
    assert "`synthmill release tiny`" in caught.value.hint
    assert (git(workspace.root, "rev-parse", "HEAD"), git(workspace.root, "tag")) == (head, "")
    assert not (workspace.root / "remote").exists()
    (workspace.root / ".synthmill/unplugged").rename(workspace.root / "remote")
    assert release(workspace, request_of(workspace), quiet).is_new
    assert_clean(workspace.root)


def test_damaged_objects_in_cache_and_remote_are_sent_anew(workspace, tmp_path):
    request = request_of(workspace)
    tree = read_tree(request.candidate)
    for store in (".dvc/cache", "remote"):
        for name in (tree.files["README.md"], tree.address):
            path = workspace.root / store / "files/md5" / name[:2] / name[2:]
            path.parent.mkdir(parents=True)
            path.write_bytes(tree.listing if name == tree.address else b"damaged")
            path.chmod(0o444)
    release(workspace, request, quiet)
    run_dvc(tmp_path, "get", str(workspace.root), "datasets/tiny", "-o", "got")
    assert read_tree(tmp_path / "got").files == tree.files


def test_a_git_remote_that_does_not_answer_leaves_no_release_here_either(workspace, tmp_path):
    git(workspace.root, "remote", "add", "origin", str(tmp_path / "origin.git"))
    with pytest.raises(ReleaseError, match="does not appear to be a git repository"):
        release(workspace, request_of(workspace), quiet)
    assert git(workspace.root, "tag") == ""
    git(tmp_path, "init", "--quiet", "--bare", "origin.git")
    assert release(workspace, request_of(workspace), quiet).is_new
    for ref in ("refs/heads/main", "refs/tags/tiny@v1.0.0"):
        assert git(tmp_path / "origin.git", "rev-parse", ref) == git(workspace.root, "rev-parse", ref)


def test_releases_made_before_there_was_a_git_remote_reach_it(workspace, tmp_path):
    release(workspace, request_of(workspace), quiet)
    git(tmp_path, "init", "--quiet", "--bare", "origin.git")
    git(workspace.root, "remote", "add", "origin", str(tmp_path / "origin.git"))
    assert not release(workspace, request_of(workspace), quiet).is_new
    for ref in ("refs/heads/main", "refs/tags/tiny@v1.0.0"):
        assert git(tmp_path / "origin.git", "rev-parse", ref) == git(workspace.root, "rev-parse", ref)


def test_second_release_at_the_same_time_is_told_who_holds_the_lock(workspace):
    with (
        hold(workspace.root, quiet),
        pytest.raises(BusyError, match=f"run {os.getpid()}"),
        hold(workspace.root, quiet, wait_s=0),
    ):
        pass


def test_merge_in_progress_is_refused(workspace):
    (workspace.root / ".git/MERGE_HEAD").write_text(git(workspace.root, "rev-parse", "HEAD"))
    with pytest.raises(WorkspaceError, match="MERGE_HEAD"):
        release(workspace, request_of(workspace), quiet)


# What a kill leaves


def test_a_stop_in_the_middle_of_a_dvc_order_is_healed_by_the_next_run(workspace, monkeypatch):
    monkeypatch.setattr("synthmill.store.dvc._POLL_S", 0.01)
    with pytest.raises(Interrupted, match="dvc commit"):
        release(workspace, request_of(workspace), quiet, lambda: True)
    assert git(workspace.root, "tag") == ""
    assert release(workspace, request_of(workspace), quiet).release.tag == "tiny@v1.0.0"
    assert_clean(workspace.root)


ORPHAN = """
import subprocess, sys, time
from pathlib import Path
from synthmill.store.lock import hold

with hold(Path(sys.argv[1]), print) as descriptor:
    subprocess.Popen(["sleep", "3"], pass_fds=[descriptor], stdout=subprocess.DEVNULL)
    print("held", flush=True)
    time.sleep(600)
"""


@pytest.mark.parametrize("step", STEPS)
def test_kill_at_each_step_is_healed_by_the_next_run(workspace, step):
    before = int(git(workspace.root, "rev-list", "--count", "HEAD"))
    request = request_of(workspace)
    kill_at(workspace, request, step)
    done = release(workspace, replace(request, run_id="run-2"), quiet)
    assert done.release.tag == "tiny@v1.0.0"
    assert int(git(workspace.root, "rev-list", "--count", "HEAD")) == before + 1
    assert git(workspace.root, "tag") == "tiny@v1.0.0"
    assert read_tree(done.path).files == read_tree(request.candidate).files
    assert len((workspace.root / "runs/tiny.jsonl").read_text().splitlines()) == 1
    assert git(workspace.root, "status", "--short") == ""
    assert_clean(workspace.root)


def test_next_run_waits_for_the_children_of_a_killed_one(workspace):
    with subprocess.Popen([sys.executable, "-c", ORPHAN, workspace.root], stdout=subprocess.PIPE, text=True) as killed:
        assert killed.stdout.readline() == "held\n"
        killed.kill()
    lines = []
    assert release(workspace, request_of(workspace), lines.append).release.tag == "tiny@v1.0.0"
    assert lines[0].startswith("release: waiting for run ")
    assert_clean(workspace.root)


@pytest.mark.parametrize("left", [{".tiny.old": "old", ".tiny.new": "new"}, {"tiny": "old", ".tiny.new": "half"}])
def test_kill_around_the_two_renames_is_healed(tmp_path, left):
    """Where there is no RENAME_EXCHANGE: between the renames, and during the copy."""
    for name, content in left.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_text(content)
    heal(tmp_path / "tiny")
    assert [path.name for path in tmp_path.iterdir()] == ["tiny"]
    assert (tmp_path / "tiny/file").read_text() == "old"


def test_folders_are_exchanged_in_one_call(tmp_path):
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
        (tmp_path / name / name).touch()
    assert exchange(tmp_path / "one", tmp_path / "other")
    assert [path.name for path in (tmp_path / "one").iterdir()] == ["other"]
    with pytest.raises(FileNotFoundError):
        exchange(tmp_path / "one", tmp_path / "missing")


def test_locks_of_dead_processes_are_cleared_and_those_of_a_user_are_not(workspace):
    tmp = workspace.root / ".dvc/tmp"
    out = str(workspace.root / "datasets/tiny")
    reused_pid = {"pid": os.getpid(), "cmd": "dvc commit"}  # alive, but this is no DVC
    (tmp / "rwlock").write_text(json.dumps({"write": {out: reused_pid}, "read": {out: [reused_pid]}}))
    marker, lock = workspace.root / ".git/synthmill-marker", workspace.root / ".git/index.lock"
    marker.touch()
    os.link(marker, lock)
    (workspace.root / ".git/refs/remotes/origin").mkdir(parents=True)
    names = ("HEAD", "refs/heads/main", "refs/tags/tiny@v1.0.0", "packed-refs", "refs/remotes/origin/main")
    for left in ("synthmill-moving", *(f"{name}.lock" for name in names)):
        (workspace.root / ".git" / left).touch()
    release(workspace, request_of(workspace), quiet)
    assert_clean(workspace.root)
    users = [lock, workspace.root / ".git/HEAD.lock", workspace.root / ".git/refs/heads/main.lock"]
    for path in users:
        path.touch()
    with workspace.lock(quiet):
        assert all(path.exists() for path in users)
