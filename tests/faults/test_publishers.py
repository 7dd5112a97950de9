"""Several clones release into one git remote at once: what they announced is there, whole, in one line, and nothing twice."""

import json
import shutil
import signal
import stat
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from support.commands import good, make_workspace, synthmill, write_recipe
from support.releases import (
    ONE,
    announced,
    assert_clean,
    assert_linear,
    clone,
    git,
    kill_at,
    make_fleet,
    quiet,
    released_files,
    remote_tags,
    request_of,
    start,
)

from synthmill.errors import ReleaseError, SupersededError, WorkspaceError
from synthmill.store.objects import read_tree
from synthmill.store.release_steps import place, release
from synthmill.store.stage_steps import yank


@pytest.fixture(scope="module")
def pristine(tmp_path_factory):
    """Two clones that nobody has touched."""
    return make_fleet(tmp_path_factory.mktemp("fleet"), 2)


@pytest.fixture
def fleet(pristine, tmp_path):
    """Two clones around a git remote and a DVC remote of their own."""
    origin, remote = tmp_path / "origin.git", tmp_path / "remote"
    shutil.copytree(pristine.origin, origin)
    shutil.copytree(pristine.remote, remote)
    clones = []
    for number, workspace in enumerate(pristine.clones):
        root = tmp_path / f"clone-{number}"
        shutil.copytree(workspace.root, root)
        git(root, "remote", "set-url", "origin", str(origin))
        (root / ".dvc/config.local").write_text(f"['remote \"storage\"']\n    url = {remote}\n")
        clones.append(replace(workspace, root=root))
    return replace(pristine, origin=origin, remote=remote, clones=tuple(clones))


def plan(number, **changes):
    return replace(ONE, plan=f"p{number}", **changes)


def assert_whole(fleet, tags):
    """The remote's tags are those, each with all of its bytes."""
    assert set(remote_tags(fleet.origin)) == set(tags)
    for tag in tags:
        assert released_files(fleet, tag)
    assert_linear(fleet.origin)


@pytest.mark.parametrize("size", [2, pytest.param(8, marks=pytest.mark.chaos)])
def test_publishers_at_once_lose_nothing_and_double_nothing(tmp_path, size):
    fleet = make_fleet(tmp_path, size)
    shared = [request_of(one, "shared", plan(number), rows=number + 1) for number, one in enumerate(fleet.clones)]
    own = [request_of(one, f"own-{number}", plan(number), rows=9) for number, one in enumerate(fleet.clones)]
    tags = []
    for requests in (shared, own):
        running = [start(one, request) for one, request in zip(fleet.clones, requests, strict=True)]
        tags += [announced(process) for process in running]
    assert sorted(tags[:size]) == [f"shared@v1.0.{number}" for number in range(size)]
    assert tags[size:] == [f"own-{number}@v1.0.0" for number in range(size)]
    assert_whole(fleet, tags)
    for request, tag in zip([*shared, *own], tags, strict=True):
        assert released_files(fleet, tag) == read_tree(request.candidate).files
    lines = git(fleet.origin, "show", "main:runs/shared.jsonl").splitlines()
    assert len(lines) == size
    fresh = clone(fleet.origin, tmp_path / "fresh")
    assert git(fresh.root, "rev-list", "--count", "HEAD") == str(2 * size + 1)
    for one in fleet.clones:
        assert_clean_but_for_others(one.root)


def assert_clean_but_for_others(root: Path) -> None:
    assert git(root, "status", "--short") == ""


def test_the_slower_one_takes_the_version_after(fleet):
    one, other = fleet.clones
    assert release(one, request_of(one, identity=plan(1)), quiet).release.tag == "tiny@v1.0.0"
    lines = []
    done = release(other, request_of(other, identity=plan(2, code="c2"), rows=5), lines.append)
    assert done.release.tag == "tiny@v1.1.0"
    assert lines[0] == "release: caught up with origin, 1 commit"
    assert_whole(fleet, ["tiny@v1.0.0", "tiny@v1.1.0"])
    assert_clean(other.root)


def test_the_same_plan_from_two_clones_is_one_release(fleet):
    one, other = fleet.clones
    first = request_of(one)
    release(one, first, quiet)
    done = release(other, request_of(other, rows=4), quiet)
    assert (done.release.tag, done.is_new) == ("tiny@v1.0.0", False)
    assert read_tree(done.path).files == read_tree(first.candidate).files
    assert_clean(other.root)


def test_a_release_judged_against_another_one_is_not_made(fleet):
    one, other = fleet.clones
    release(one, request_of(one, identity=plan(1)), quiet)
    late = replace(request_of(other, identity=plan(2), rows=5), previous=None)
    with pytest.raises(SupersededError, match=r"tiny@v1.0.0 is the latest"):
        release(other, late, quiet)
    assert release(other, replace(late, previous="v1.0.0"), quiet).release.tag == "tiny@v1.0.1"


def test_a_yanked_release_is_not_what_the_next_one_is_judged_against(fleet):
    one, _ = fleet.clones
    for number in (1, 2):
        release(one, request_of(one, identity=plan(number), rows=number), quiet)
    yank(one, "tiny@v1.0.1", "ages are off", quiet)
    lines = []
    again = release(one, request_of(one, identity=plan(2), rows=2), lines.append)
    assert (again.release.tag, again.is_new) == ("tiny@v1.0.1", False)
    assert "note: tiny@v1.0.1, which has these rows, is yanked: ages are off" in lines
    next_one = replace(request_of(one, identity=plan(3), rows=5), previous="v1.0.0")
    assert release(one, next_one, quiet).release.tag == "tiny@v1.0.2"


# What lies in a clone that others have left behind


def test_unreleased_work_of_a_clone_stays_as_it_is(fleet):
    one, other = fleet.clones
    (one.root / "notes.txt").write_text("theirs\n")
    (one.root / "tool.sh").write_text("#!/bin/sh\n")
    (one.root / "tool.sh").chmod(0o755)
    git(one.root, "add", "notes.txt", "tool.sh")
    git(one.root, "commit", "--quiet", "-m", "Others' work")
    release(one, request_of(one, "theirs"), quiet)
    place(other, request_of(other, "placed"), quiet)
    (other.root / "recipes/draft.yaml").write_text("mine\n")
    (other.root / "staged.txt").write_text("mine\n")
    git(other.root, "add", "staged.txt")
    release(other, request_of(other, "mine"), quiet)
    assert_whole(fleet, ["theirs@v1.0.0", "mine@v1.0.0"])
    assert (other.root / "notes.txt").read_text() == "theirs\n"
    assert (other.root / "tool.sh").stat().st_mode & stat.S_IXUSR
    status = git(other.root, "status", "--short").splitlines()
    assert status == [
        "M dvc.yaml", "A  staged.txt", "?? metrics/placed-columns.csv", "?? metrics/placed-scores.csv", "?? metrics/placed.json",
        "?? recipes/draft.yaml", "?? recipes/placed.yaml",
    ]  # fmt: skip
    stages = (other.root / "dvc.yaml").read_text()
    assert all(f"  {name}:\n" in stages for name in ("theirs", "placed", "mine"))
    assert "  placed:" not in git(fleet.origin, "show", "main:dvc.yaml")


def test_a_file_that_both_have_changed_stops_the_release_before_anything_is_done(fleet):
    one, other = fleet.clones
    (one.root / "synthmill.toml").write_text("# theirs\n")
    git(one.root, "commit", "--quiet", "-am", "Theirs")
    release(one, request_of(one), quiet)
    (other.root / "synthmill.toml").write_text("# mine\n")
    head = git(other.root, "rev-parse", "HEAD")
    with pytest.raises(WorkspaceError, match=r"stand in the way of what the git remote has: synthmill.toml"):
        release(other, request_of(other, "late"), quiet)
    assert (other.root / "synthmill.toml").read_text() == "# mine\n"
    assert git(other.root, "rev-parse", "HEAD") == head
    assert not (other.root / "datasets/late").exists()
    git(other.root, "checkout", "--quiet", "synthmill.toml")
    assert release(other, request_of(other, "late"), quiet).is_new


def test_a_branch_with_commits_of_its_own_is_told_to_rebase(fleet):
    one, other = fleet.clones
    release(one, request_of(one), quiet)
    git(other.root, "commit", "--quiet", "--allow-empty", "-m", "Mine")
    with pytest.raises(ReleaseError, match=r"has 1 commit.s. that origin lacks, and lacks 1 of its own") as caught:
        release(other, request_of(other, "late"), quiet)
    assert "git pull --rebase" in caught.value.hint
    git(other.root, "pull", "--quiet", "--rebase")
    assert release(other, request_of(other, "late"), quiet).is_new
    assert_whole(fleet, ["tiny@v1.0.0", "late@v1.0.0"])


def test_a_recipe_that_others_have_changed_is_not_overwritten(fleet):
    one, other = fleet.clones
    release(one, request_of(one), quiet)
    git(other.root, "pull", "--quiet")
    late = request_of(other, identity=plan(2), rows=5)
    (one.root / "recipes/tiny.yaml").write_text("format: 1\ndataset: tiny\nseed: 8\n")
    release(one, request_of(one, identity=plan(3), rows=6), quiet)
    with pytest.raises(WorkspaceError, match=r"recipes/tiny.yaml \(changed since"):
        release(other, late, quiet)
    assert "seed: 8" in (other.root / "recipes/tiny.yaml").read_text()


# Kills and remotes that fail


@pytest.mark.parametrize("step", ["git commit", "git tag", "git push"])  # at "done" it may have been told
def test_a_kill_at_a_step_with_a_remote_is_healed_also_when_others_go_on(fleet, step):
    one, other = fleet.clones
    request = request_of(one, identity=plan(1))
    kill_at(one, request, step)
    release(other, request_of(other, identity=plan(2), rows=7), quiet)
    release(one, replace(request, run_id="again"), quiet)
    tags = ["tiny@v1.0.0", "tiny@v1.0.1"]
    assert_whole(fleet, tags)
    assert len(git(fleet.origin, "show", "main:runs/tiny.jsonl").splitlines()) == len(tags)
    assert git(one.root, "status", "--short") == ""
    assert_clean(one.root)


def test_a_push_that_dies_once_it_is_done_is_seen_by_the_same_run(fleet):
    one, _ = fleet.clones
    hook = fleet.origin / "hooks/post-receive"
    hook.write_text("#!/bin/sh\nkill -9 $(ps -o ppid= -p $PPID)\n")
    hook.chmod(0o755)
    assert release(one, request_of(one), quiet).is_new
    assert_whole(fleet, ["tiny@v1.0.0"])


@pytest.mark.parametrize("is_alone", [True, False])
def test_a_push_whose_answer_was_lost_is_one_release(fleet, is_alone):
    """The remote takes branch and tag, and the clone dies before it knows; others may release before it comes again."""
    one, other = fleet.clones
    request = request_of(one)
    hook = fleet.origin / "hooks/post-receive"
    hook.write_text("#!/bin/sh\nkill -9 -$(ps -o pgid= -p $PPID | tr -d ' ')\n")
    hook.chmod(0o755)
    before = git(one.root, "rev-parse", "HEAD")
    process = start(one, request)
    assert process.wait() == -signal.SIGKILL
    hook.unlink()
    tags = ["tiny@v1.0.0"]
    assert list(remote_tags(fleet.origin)) == tags
    if not is_alone:
        tags.append(release(other, request_of(other, identity=plan(2), rows=7), quiet).release.tag)
    done = release(one, replace(request, run_id="again"), quiet)
    assert done.release.tag == "tiny@v1.0.0"
    assert git(one.root, "rev-parse", f"HEAD~{len(tags)}") == before
    assert_whole(fleet, tags)
    assert_clean(one.root)
    assert git(one.root, "status", "--short") == ""


FLAKY = """#!/bin/sh
echo x >> "$0.calls"
[ $(($(wc -l < "$0.calls") % 3)) = 0 ] && exit 1
shift
exec sh -c "$*"
"""


def test_a_git_remote_that_fails_every_third_time_gets_every_release(fleet, tmp_path, monkeypatch):
    script = tmp_path / "flaky"
    script.write_text(FLAKY)
    script.chmod(0o755)
    monkeypatch.setenv("GIT_SSH_COMMAND", str(script))
    monkeypatch.setenv("GIT_SSH_VARIANT", "simple")
    one, _ = fleet.clones
    git(one.root, "remote", "set-url", "origin", f"ssh://host{fleet.origin}")
    for number in range(3):
        release(one, request_of(one, identity=plan(number), rows=number + 1), quiet)
    assert len(Path(f"{script}.calls").read_text().split()) > 6
    assert_whole(fleet, [f"tiny@v1.0.{number}" for number in range(3)])


def test_a_tag_that_names_two_releases_is_told(fleet):
    one, other = fleet.clones
    git(other.root, "tag", "-a", "tiny@v1.0.0", "-m", "by hand")
    release(one, request_of(one), quiet)
    with pytest.raises(ReleaseError, match=r"tiny@v1.0.0 names one release here and another one on origin"):
        release(other, request_of(other, identity=plan(2), rows=5), quiet)


# The command, whose verdicts and report compare with the release before


HOOK = """#!/bin/sh
[ -e {mark} ] && exit 0
touch {mark}
cd {clone} && {python} -m synthmill.cli run recipes/people.yaml --inline --release >&2
"""


def test_a_candidate_is_judged_again_when_another_clone_was_faster(tmp_path):
    """The other clone releases in the instant before the push of this one, which a hook of git is for."""
    first = make_workspace(tmp_path / "ws")
    gated = {
        "source": "{path: data/people.csv, holdout: 0.5}",
        "jobs": "[{generator: table/noise, rows: 300}]",
        "gates": "{fidelity/shape: {not_worse_than: latest}}",
    }
    write_recipe(first, "people", seed="1", **gated)
    write_recipe(first, "late", dataset="people", seed="2", **gated)
    git(first, "add", "data", "recipes")
    git(first, "commit", "--quiet", "-m", "Data and recipes")
    git(tmp_path, "clone", "--quiet", "--bare", str(first), "origin.git")
    one, other = (clone(tmp_path / "origin.git", tmp_path / name).root for name in ("one", "other"))
    hook = other / ".git/hooks/pre-push"
    hook.write_text(HOOK.format(mark=tmp_path / "mark", clone=one, python=sys.executable))
    hook.chmod(0o755)
    done = good(other, "run", "recipes/late.yaml", "--inline", "--release", "--json")
    outcome = json.loads(done.out)
    assert "release: people@v1.0.0 is the latest now; judged again" in done.err.splitlines()
    assert (outcome["version"], outcome["previous"]) == ("v1.0.1", "v1.0.0")
    [gate] = outcome["gates"]
    assert (gate["status"], gate["against"]) == ("passed", "v1.0.0")
    assert set(remote_tags(tmp_path / "origin.git")) == {"people@v1.0.0", "people@v1.0.1"}
    assert_linear(tmp_path / "origin.git")


def test_a_run_of_a_recipe_that_is_newer_on_the_remote_is_refused_at_its_start(tmp_path):
    first = make_workspace(tmp_path / "ws")
    write_recipe(first, "people")
    git(first, "add", "data", "recipes")
    git(first, "commit", "--quiet", "-m", "Data and recipes")
    git(tmp_path, "clone", "--quiet", "--bare", str(first), "origin.git")
    one, other = (clone(tmp_path / "origin.git", tmp_path / name).root for name in ("one", "other"))
    write_recipe(one, "people", seed="8")
    git(one, "commit", "--quiet", "-am", "Another seed")
    git(one, "push", "--quiet")
    done = synthmill(other, "run", "recipes/people.yaml", "--inline", "--release")
    assert done.code == 2
    assert "recipes/people.yaml: origin has another version of the recipe" in done.err
    assert not (other / ".synthmill/sources").exists()
