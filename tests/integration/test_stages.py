"""Stages, yanks and pulls of real releases, in a workspace alone, with a git remote, and from clones that work at the same time."""

import json
import os
import re
import shlex
import shutil
from pathlib import Path

import dvc.api
import gto.api
import pytest
from dvc.repo import Repo
from support.commands import git_status, good, synthmill, tree
from support.releases import git, run_dvc
from support.tiny import move, release_tiny

from synthmill.errors import InputError, ReleaseError
from synthmill.store.git import Git
from synthmill.store.objects import read_tree
from synthmill.store.pull import pull
from synthmill.store.references import stages_of
from synthmill.store.stage_steps import promote, rollback, yank
from synthmill.store.upstream import Upstream
from synthmill.store.workspace import create, find

GUIDE = (Path(__file__).parents[2] / "docs/guides/stages.md").read_text()


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """A workspace with tiny@v1.0.0, v1.0.1 and v1.0.2."""
    workspace = create(tmp_path_factory.mktemp("base") / "ws")
    for number in range(3):
        release_tiny(workspace, number)
    return workspace.root


@pytest.fixture
def workspace(base, tmp_path):
    move(base, tmp_path / "ws")
    return find(tmp_path / "ws")


@pytest.fixture
def origin(workspace, tmp_path):
    """The workspace's git remote, a bare repository that has everything."""
    git(tmp_path, "clone", "--quiet", "--bare", str(workspace.root), "origin.git")
    git(workspace.root, "remote", "add", "origin", str(tmp_path / "origin.git"))
    return tmp_path / "origin.git"


@pytest.fixture
def clone(origin, tmp_path):
    """A fresh clone: no cache, no state."""
    git(tmp_path, "clone", "--quiet", str(origin), "clone")
    return find(tmp_path / "clone")


def released(workspace, number):
    return read_tree(workspace.state / "candidates" / f"tiny-{number}").files


def quiet(_):
    """Words that nobody reads."""


def tags(root):
    return git(root, "for-each-ref", "--format=%(refname:strip=2) %(objectname)", "refs/tags")


def assert_all_agree(root, stage, version):
    """Ours, GTO's and DVC's answer to what is in the stage."""
    assert {found: str(at) for found, at in stages_of(Git(root), "tiny").items()}[stage] == version
    assert gto.api.show(str(root))["tiny"]["stage"][stage] == version
    with Repo(str(root)) as repo:
        assert repo.artifacts.get_rev("tiny", stage=stage) == git(root, "rev-parse", f"tiny@{version}^{{}}")


# Stages


def test_a_stage_moves_and_goes_back_and_gto_and_dvc_agree(workspace):
    for version in ("v1.0.0", "v1.0.1", "v1.0.2"):
        promote(workspace, f"tiny@{version}", "prod", quiet)
        assert_all_agree(workspace.root, "prod", version)
    promote(workspace, "tiny@prod", "staging", quiet)
    first = rollback(workspace, "tiny", "prod", quiet)
    assert (str(first.before), str(first.release.version), first.tag) == ("v1.0.2", "v1.0.1", "tiny#prod#4")
    assert_all_agree(workspace.root, "prod", "v1.0.1")
    assert_all_agree(workspace.root, "staging", "v1.0.2")
    assert str(rollback(workspace, "tiny", "prod", quiet).release.version) == "v1.0.0"
    assert_all_agree(workspace.root, "prod", "v1.0.0")
    with pytest.raises(InputError, match=r"no earlier release to go back to: v1.0.0(.|\n)*--to VERSION"):
        rollback(workspace, "tiny", "prod", quiet)
    assert str(rollback(workspace, "tiny", "prod", quiet, to="v1.0.2").before) == "v1.0.0"
    assert not rollback(workspace, "tiny", "prod", quiet, to="v1.0.2").is_new
    assert_all_agree(workspace.root, "prod", "v1.0.2")
    assert git(workspace.root, "cat-file", "-t", "tiny#prod#6") == "tag"
    assert git_status(workspace.root) == ""


def test_a_yanked_release_is_skipped_on_the_way_back(workspace):
    for version in ("v1.0.0", "v1.0.1", "v1.0.2"):
        promote(workspace, f"tiny@{version}", "prod", quiet)
    yank(workspace, "tiny@v1.0.1", "ages are off", quiet)
    assert str(rollback(workspace, "tiny", "prod", quiet).release.version) == "v1.0.0"
    with pytest.raises(InputError, match=r"tiny@v1.0.1 is yanked: ages are off\n  .*--even-if-yanked"):
        rollback(workspace, "tiny", "prod", quiet, to="v1.0.1")


def test_what_cannot_be_promoted_is_refused_with_what_can(workspace):
    done = synthmill(workspace.root, "promote", "tiny@v1.0.0", "live")
    assert (done.code, done.err) == (2, "bad input: live: there is no stage live\n  stages are dev, staging, prod\n")
    assert synthmill(workspace.root, "promote", "tiny@v9.0.0", "prod").code == 2
    for words in (["rollback", "tiny"], ["rollback", "tiny@v1.0.0"], ["rollback", "tni"]):
        assert synthmill(workspace.root, *words).code == 2
    assert "#" not in git(workspace.root, "tag")


def test_promoting_twice_says_so_and_adds_no_tag(workspace):
    first = good(workspace.root, "promote", "tiny", "prod")
    assert first.out == "tiny prod: v1.0.2 (tiny#prod#1)\n"
    assert "only this copy of the workspace knows" in first.err
    before = tags(workspace.root)
    assert good(workspace.root, "promote", "tiny@v1.0.2", "prod").out == "tiny prod: v1.0.2 already (tiny#prod#1)\n"
    assert tags(workspace.root) == before
    moved = json.loads(good(workspace.root, "promote", "tiny@v1.0.0", "prod", "--json").out)
    expected = {"dataset": "tiny", "stage": "prod", "version": "v1.0.0", "before": "v1.0.2", "tag": "tiny#prod#2"}
    assert moved == {**expected, "is_new": True, "is_dry_run": False, "remote": None, "yanked": None}


def test_a_dry_run_changes_no_tag(workspace):
    promote(workspace, "tiny@v1.0.0", "prod", quiet)
    promote(workspace, "tiny@v1.0.1", "prod", quiet)
    before = tags(workspace.root)
    asked = good(workspace.root, "promote", "tiny", "prod", "--dry-run")
    assert (asked.out, asked.err) == ("tiny prod: would be from v1.0.1 to v1.0.2 (tiny#prod#3)\n", "")
    assert "would be from v1.0.1 to v1.0.0" in good(workspace.root, "rollback", "tiny", "--dry-run").out
    assert tags(workspace.root) == before


def test_an_assignment_is_later_than_all_before_even_under_a_clock_that_is_behind(workspace):
    ahead = {**os.environ, "GIT_COMMITTER_DATE": "4000000000 +0000"}  # by another clone
    Git(workspace.root).run(
        "-c", "user.name=A", "-c", "user.email=a@b.c", "tag", "-am", "x", "tiny#prod#1", "tiny@v1.0.2^{}", env=ahead
    )
    promote(workspace, "tiny@v1.0.0", "prod", quiet)
    assert_all_agree(workspace.root, "prod", "v1.0.0")


# With a git remote


def test_a_stage_is_on_the_remote_before_it_is_told(workspace, origin, clone):
    assert promote(workspace, "tiny@v1.0.1", "prod", quiet).remote == "origin"
    assert "tiny#prod#1" in tags(origin)
    assert str(promote(clone, "tiny@v1.0.2", "prod", quiet).before) == "v1.0.1"
    assert str(rollback(workspace, "tiny", "prod", quiet).before) == "v1.0.2"
    assert tags(origin) == tags(workspace.root)


def test_an_unreachable_remote_leaves_nothing_here(workspace, origin):
    before = tags(workspace.root)
    origin.rename(origin.with_name("away"))
    done = synthmill(workspace.root, "promote", "tiny", "prod")
    assert (done.code, done.out) == (1, "")
    assert "the tags of tiny could not be fetched from the git remote origin" in done.err
    assert tags(workspace.root) == before


def test_a_remote_that_refuses_leaves_nothing_here(workspace, origin):
    hook = origin / "hooks/pre-receive"
    hook.write_text("#!/bin/sh\necho no >&2\nexit 1\n")
    hook.chmod(0o755)
    before = tags(workspace.root)
    with pytest.raises(ReleaseError, match="git push failed"):
        promote(workspace, "tiny", "prod", quiet)
    assert tags(workspace.root) == before


def test_what_was_made_before_there_was_a_remote_is_pushed_with_it(workspace, tmp_path):
    promote(workspace, "tiny@v1.0.0", "prod", quiet)
    yank(workspace, "tiny@v1.0.1", "ages are off", quiet)
    git(tmp_path, "init", "--quiet", "--bare", "origin.git")
    git(workspace.root, "remote", "add", "origin", str(tmp_path / "origin.git"))
    assert not promote(workspace, "tiny@v1.0.0", "prod", quiet).is_new
    assert not yank(workspace, "tiny@v1.0.1", "other words", quiet).is_new
    names = git(tmp_path / "origin.git", "tag").splitlines()
    assert names == ["tiny#prod#1", "tiny@v1.0.0", "tiny@v1.0.1", "tiny@v1.0.1!"]


def meanwhile(monkeypatch, act):
    """Let `act` happen right after the first fetch: what another clone does between our look and our push."""
    fetch, pending = Upstream.fetch, [act]

    def fetch_then_act(self, **options):
        fetch(self, **options)
        if pending:
            pending.pop()()

    monkeypatch.setattr(Upstream, "fetch", fetch_then_act)


def test_of_two_clones_that_assign_at_once_the_later_takes_the_next_number(workspace, clone, origin, monkeypatch):
    lines = []
    meanwhile(monkeypatch, lambda: promote(workspace, "tiny@v1.0.1", "prod", quiet))
    moved = promote(clone, "tiny@v1.0.2", "prod", lines.append)
    assert (moved.tag, str(moved.before)) == ("tiny#prod#2", "v1.0.1")
    assert lines == ["tiny#prod#1 was taken by another clone meanwhile: looking again"]
    assert_all_agree(clone.root, "prod", "v1.0.2")


def test_two_rollbacks_at_once_go_back_one_release(workspace, clone, origin, monkeypatch):
    for version in ("v1.0.0", "v1.0.1", "v1.0.2"):
        promote(workspace, f"tiny@{version}", "prod", quiet)
    git(clone.root, "config", "user.name", "Somebody Else")
    git(clone.root, "config", "user.email", "else@example.org")
    meanwhile(monkeypatch, lambda: rollback(workspace, "tiny", "prod", quiet))
    with pytest.raises(ReleaseError, match=r"moved from v1.0.2 to v1.0.1 by another clone meanwhile"):
        rollback(clone, "tiny", "prod", quiet)
    assert_all_agree(clone.root, "prod", "v1.0.1")


# Yanks


def test_a_yank_warns_and_deletes_nothing(workspace, origin, tmp_path):
    promote(workspace, "tiny", "prod", quiet)
    done = good(workspace.root, "yank", "tiny@v1.0.2", "--reason", "ages are off")
    assert done.out == "tiny@v1.0.2 is yanked: ages are off\n"
    assert "it is still in prod; `synthmill rollback tiny prod` takes it out" in done.err
    assert "tiny@v1.0.2!" in tags(origin)
    again = good(workspace.root, "yank", "tiny@v1.0.2", "--reason", "others")
    assert again.out == "tiny@v1.0.2 was already yanked: ages are off\n"
    assert gto.api.show(str(workspace.root))["tiny"]["version"] == "v1.0.1"
    assert next(event["message"] for event in gto.api.history(str(workspace.root), "tiny")) == "ages are off"
    assert dvc.api.artifacts_show("tiny", version="v1.0.2", repo=str(workspace.root))["rev"]  # a pin still works
    assert good(workspace.root, "promote", "tiny", "dev").out == "tiny dev: v1.0.1 (tiny#dev#1)\n"
    assert synthmill(workspace.root, "promote", "tiny@v1.0.2", "dev").code == 2
    taken = good(workspace.root, "promote", "tiny@v1.0.2", "dev", "--even-if-yanked")
    assert taken.err == "warning: tiny@v1.0.2 is yanked: ages are off\n"


@pytest.mark.parametrize(
    ("text", "reason", "words"),
    [
        ("tiny@v1.0.0", "  ", "the reason must be one line of words"),
        ("tiny@v1.0.0", "two\nlines", "the reason must be one line of words"),
        ("tiny@prod", "off", r"a yank names a version\n  write tiny@vX.Y.Z"),
        ("tiny", "off", "a yank names a version"),
        ("tiny@v1.0.9", "off", r"tiny has no release v1.0.9\n  there are v1.0.0, v1.0.1, v1.0.2"),
    ],
)
def test_a_yank_without_a_version_or_a_reason_is_refused(workspace, text, reason, words):
    with pytest.raises(InputError, match=words):
        yank(workspace, text, reason, quiet)
    assert "!" not in git(workspace.root, "tag")


# The list


def test_the_list_says_stages_scores_size_and_yanks(workspace):
    promote(workspace, "tiny@v1.0.1", "prod", quiet)
    promote(workspace, "tiny@v1.0.1", "dev", quiet)
    yank(workspace, "tiny@v1.0.0", "ages are off", quiet)
    found = json.loads(good(workspace.root, "releases", "tiny", "--json").out)
    assert [entry["tag"] for entry in found] == ["tiny@v1.0.0", "tiny@v1.0.1", "tiny@v1.0.2"]
    assert [entry["stages"] for entry in found] == [[], ["dev", "prod"], []]
    assert [entry["yanked"] for entry in found] == ["ages are off", None, None]
    assert found[1]["headlines"] == {"privacy/copies": 0, "fidelity/shape": 0.91}  # those of the recipe's gates
    candidate = workspace.state / "candidates" / "tiny-1"
    assert found[1]["size_bytes"] == sum(path.stat().st_size for path in candidate.rglob("*") if path.is_file())
    assert {"commit", "date", "rows", "scores", "version"} <= set(found[1])
    head, _, first, second, _ = good(workspace.root, "releases").out.splitlines()
    assert head.split() == ["release", "date", "rows", "size", "stages", "scores", "yanked"]
    assert first.endswith("ages are off")
    assert "dev, prod" in second
    assert "no releases of tnii; there are some of tiny" in good(workspace.root, "releases", "tnii").err


def test_a_tag_made_by_hand_is_listed_too(workspace):
    first = git(workspace.root, "rev-list", "--max-parents=0", "HEAD")
    git(workspace.root, "tag", "-a", "other@v1.0.0", first, "-m", "by hand")
    [entry] = json.loads(good(workspace.root, "releases", "other", "--json").out)
    assert (entry["tag"], entry["size_bytes"], entry["headlines"]) == ("other@v1.0.0", None, {})


# Pulls


def test_a_fresh_clone_pulls_a_stage_whole_and_once(workspace, clone):
    promote(workspace, "tiny@v1.0.1", "prod", quiet)
    done = good(clone.root, "pull", "tiny@prod")  # the stage is younger than the clone
    path = clone.root / "pulled/tiny-v1.0.1"
    assert done.out == f"{path}\n"
    assert read_tree(path).files == released(workspace, 1)
    assert sorted(other.name for other in path.parent.iterdir()) == [".gitignore", "tiny-v1.0.1"]
    assert git_status(clone.root) == ""
    before = tree(path)
    again = json.loads(good(clone.root, "pull", "tiny@v1.0.1", "--json").out)
    assert again == {"tag": "tiny@v1.0.1", "path": str(path), "rows": 20, "yanked": None, "is_new": False}
    assert tree(path) == before


def test_an_old_version_comes_from_the_remote_of_today_and_warns_when_yanked(workspace, tmp_path):
    shutil.rmtree(workspace.root / ".dvc/cache")
    (workspace.root / "remote").rename(tmp_path / "moved")
    run_dvc(workspace.root, "remote", "modify", "storage", "url", str(tmp_path / "moved"))
    yank(workspace, "tiny@v1.0.0", "ages are off", quiet)
    done = good(workspace.root, "pull", "tiny@v1.0.0", "--to", "here/it is")
    assert done.err == "pull: tiny@v1.0.0\nwarning: tiny@v1.0.0 is yanked: ages are off\n"
    assert read_tree(workspace.root / "here/it is").files == released(workspace, 0)


def test_without_the_git_remote_it_goes_by_what_is_here_and_says_so(workspace, origin):
    origin.rename(origin.with_name("away"))
    done = good(workspace.root, "pull", "tiny")
    assert "note: the tags of tiny could not be fetched from the git remote origin" in done.err
    assert done.out == f"{workspace.root}/pulled/tiny-v1.0.2\n"


def test_files_of_others_are_never_overwritten(workspace, tmp_path):
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "notes.txt").write_text("mine\n")
    for place in (mine, mine / "notes.txt"):
        with pytest.raises(InputError, match=r"something else than tiny@v1.0.2 lies there"):
            pull(workspace, "tiny", place, quiet)
    assert (mine / "notes.txt").read_text() == "mine\n"
    (mine / "notes.txt").unlink()
    assert pull(workspace, "tiny", mine, quiet).is_new  # an empty folder is in nobody's way
    (mine / "README.md").chmod(0o644)
    (mine / "README.md").write_text("edited\n")
    with pytest.raises(InputError, match="something else"):
        pull(workspace, "tiny", mine, quiet)


def damage(store, workspace, number):
    """Other bytes of the same size under the name of a Parquet file of the release."""
    [md5] = [md5 for path, md5 in released(workspace, number).items() if path.endswith(".parquet")]
    path = store / "files/md5" / md5[:2] / md5[2:]
    content = bytes(path.stat().st_size)
    path.unlink()
    path.write_bytes(content)
    path.chmod(0o444)


def test_what_is_damaged_in_the_cache_comes_from_the_remote(workspace, tmp_path):
    damage(workspace.root / ".dvc/cache", workspace, 2)
    (tmp_path / ".tmp-pull-got").mkdir()  # of a pull that was killed
    (tmp_path / ".tmp-pull-got/half").write_text("half")
    pull(workspace, "tiny", tmp_path / "got", quiet)
    assert read_tree(tmp_path / "got").files == released(workspace, 2)


def test_a_damaged_or_missing_remote_leaves_nothing(workspace, tmp_path):
    shutil.rmtree(workspace.root / ".dvc/cache")
    damage(workspace.root / "remote", workspace, 2)
    target = tmp_path / "in/got"
    with pytest.raises(
        ReleaseError, match=r"tiny@v1.0.2 could not be fetched: .*1 of 5 objects are missing or damaged"
    ):
        pull(workspace, "tiny", target, quiet)
    assert list(target.parent.iterdir()) == []
    shutil.rmtree(workspace.root / "remote")
    with pytest.raises(ReleaseError, match=r"could not be fetched: it is not there"):
        pull(workspace, "tiny", target, quiet)
    assert list(target.parent.iterdir()) == []


# The guide


def test_the_commands_of_the_guide_do_what_it_says(workspace, tmp_path):
    blocks = re.findall(r"```bash\n(.*?)```", GUIDE, flags=re.DOTALL)
    lines = [shlex.split(line, comments=True) for block in blocks for line in block.splitlines()]
    done = []
    for line in lines:
        program, *words = (word.replace("fair", "tiny").replace("WORKSPACE_URL", str(workspace.root)) for word in line)
        if program == "synthmill":
            done.append((words[0], good(workspace.root, *words).out.strip()))
        else:
            run_dvc(tmp_path, *words)
    assert [name for name, _ in done] == ["releases", *["promote"] * 4, *["rollback"] * 2, "yank", *["pull"] * 2]
    assert [out for name, out in done if name in ("promote", "rollback")] == [
        "tiny staging: v1.0.1 (tiny#staging#1)",
        "tiny prod: v1.0.1 (tiny#prod#1)",
        "tiny prod: would be from v1.0.1 to v1.0.2 (tiny#prod#2)",
        "tiny prod: from v1.0.1 to v1.0.2 (tiny#prod#2)",
        "tiny prod: from v1.0.2 to v1.0.1 (tiny#prod#3)",
        "tiny prod: v1.0.1 already (tiny#prod#3)",
    ]
    assert done[-2][1] == f"{workspace.root}/pulled/tiny-v1.0.1"
    for folder in (Path(done[-2][1]), workspace.root / "training/tiny", tmp_path / "tiny"):
        assert read_tree(folder).files == released(workspace, 1), folder
