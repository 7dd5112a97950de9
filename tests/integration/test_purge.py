"""`synthmill purge`: every byte of a release goes, no byte of another one does, and the gap explains itself."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from support.commands import good, synthmill, tree
from support.released import git, make_candidate, make_release, move_workspace, object_of, place_of

from synthmill.store.objects import read_tree
from synthmill.store.release_steps import release, releases
from synthmill.store.tombstones import read_tombstones
from synthmill.store.workspace import create

DATA = "data/synthetic-00000-of-00001.parquet"
ONE, TWO = "tiny@v1.0.0", "tiny@v1.0.1"
WHY = ("--reason", "a request\n of a person")
STORES = (".dvc/cache", "remote")


@pytest.fixture(scope="module")
def blank(tmp_path_factory):
    return create(tmp_path_factory.mktemp("purge") / "blank").root


@pytest.fixture(scope="module")
def released(blank, tmp_path_factory):
    """Two releases of one dataset whose README.md is one object, and one of a neighbour."""
    workspace = move_workspace(blank, tmp_path_factory.mktemp("purge") / "released")
    make_release(workspace, plan="p1", card="one card\n")
    make_release(workspace, rows=5, plan="p2", card="one card\n")
    make_release(workspace, name="other", rows=7, plan="p3")
    return workspace.root


@pytest.fixture
def workspace(released, tmp_path):
    return move_workspace(released, tmp_path / "ws")


def stored(root: Path) -> set[str]:
    """Every object of both stores."""
    places = [path for store in STORES for path in (root / store / "files/md5").rglob("*") if path.is_file()]
    return {path.relative_to(root).as_posix() for path in places}


def dvc(root: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-P", "-m", "dvc", *arguments]
    return subprocess.run(command, cwd=root, check=False, capture_output=True, text=True)


def test_without_yes_it_only_tells(workspace):
    before = tree(workspace.root / "remote"), stored(workspace.root), git(workspace.root, "tag")
    done = good(workspace.root, "purge", TWO, *WHY)
    lines = [line.split() for line in done.out.splitlines()]
    assert lines[0] == ["what", "how", "many", "bytes"]
    assert [line[:5] for line in lines[2:4]] == [["objects", "in", "the", side, "3"] for side in ("cache", "remote")]
    assert f"stays: README.md, which {ONE} has too" in done.out
    assert "--yes deletes it for good" in done.err
    assert (tree(workspace.root / "remote"), stored(workspace.root), git(workspace.root, "tag")) == before
    assert (workspace.root / "datasets/tiny").is_dir()


def test_every_byte_of_it_goes_and_no_byte_of_another(workspace, tmp_path):
    root, folder = workspace.root, workspace.root / "datasets/tiny"
    git(tmp_path, "init", "--quiet", "--bare", "--initial-branch=main", "origin.git")
    git(root, "remote", "add", "origin", str(tmp_path / "origin.git"))
    git(root, "push", "--quiet", "--tags", "origin", "main")
    own = {object_of(workspace, TWO, path, store) for path in (DATA, "manifest.json", "") for store in STORES}
    before = stored(root)
    (folder / "mine.txt").write_text("mine\n")
    done = good(root, "purge", TWO, *WHY, "--yes", "--json")
    found = json.loads(done.out)
    assert (found["releases"], found["is_done"]) == ([TWO], True)
    assert before - stored(root) == {path.relative_to(root).as_posix() for path in own}
    assert [path.name for path in folder.rglob("*")] == ["mine.txt"]
    assert not (workspace.state / "candidates/p2").exists()
    assert (workspace.state / "candidates/p1").is_dir()

    assert [item.tag for item in releases(workspace)] == ["other@v1.0.0", ONE, TWO]
    message = git(root, "tag", "-l", "--format=%(objecttype) %(contents)", f"{TWO}!")
    assert message.startswith("tag purged: a request of a person\n\nuser: ")
    assert "rows: 5\nfiles: 3\nbytes: " in message
    assert git(tmp_path / "origin.git", "tag", "-l", f"{TWO}!") == f"{TWO}!"
    assert git(tmp_path / "origin.git", "rev-parse", "main") == git(root, "rev-parse", "HEAD")
    assert "tiny" not in git(root, "show", "HEAD:dvc.lock")
    assert git(root, "status", "--short") == ""

    # A fresh clone asks for nothing that is gone, and finds the others.
    git(tmp_path, "clone", "--quiet", str(tmp_path / "origin.git"), "clone")
    pulled = dvc(tmp_path / "clone", "pull")
    assert pulled.returncode == 0, pulled.stderr
    assert read_tree(tmp_path / "clone/datasets/other").files == read_tree(root / "datasets/other").files
    import gto.api

    shown = [item["version"] for item in gto.api.show(str(root), name="tiny")]
    assert shown == ["v1.0.0"]


def test_rows_that_another_release_shares_are_not_taken_from_it(workspace):
    make_release(workspace, rows=5, plan="p4", card="another card\n")
    before = stored(workspace.root)
    done = synthmill(workspace.root, "purge", TWO, *WHY, "--yes")
    assert (done.code, done.out) == (2, "")
    assert "tiny@v1.0.2 has files of rows in common with it" in done.err
    assert f"synthmill purge {TWO} tiny@v1.0.2" in done.err
    assert (stored(workspace.root), git(workspace.root, "tag", "-l", "*!")) == (before, "")
    good(workspace.root, "purge", TWO, "tiny@v1.0.2", *WHY, "--yes")
    assert not any(place_of(workspace, read_md5(5, workspace), store).exists() for store in STORES)
    assert all(object_of(workspace, ONE, path, store).exists() for path in ("README.md", DATA) for store in STORES)


def read_md5(rows: int, workspace) -> str:
    """The object of so many rows, which equal candidates share."""
    return read_tree(make_candidate(workspace, rows=rows, plan="probe").candidate).files[DATA]


def test_the_same_plan_again_is_a_new_version(workspace):
    good(workspace.root, "purge", TWO, ONE, "other@v1.0.0", *WHY, "--yes")
    assert stored(workspace.root) == set()
    assert not any((workspace.root / "datasets").glob("*/"))
    emptied = dvc(workspace.root, "pull")
    assert emptied.returncode == 0, emptied.stderr
    lines: list[str] = []
    again = replace(make_candidate(workspace, rows=5, plan="p2", card="one card\n"), previous=None)
    done = release(workspace, again, lines.append)
    assert (done.release.tag, done.is_new) == ("tiny@v1.0.2", True)
    assert any(
        "was purged on" in line and "because: a request of a person; this is a new version" in line for line in lines
    )
    runs = [json.loads(line)["version"] for line in (workspace.root / "runs/tiny.jsonl").read_text().splitlines()]
    assert runs == ["v1.0.0", "v1.0.1", "v1.0.2"]
    assert dvc(workspace.root, "status").stdout == "Data and pipelines are up to date.\n"
    assert git(workspace.root, "status", "--short") == ""
    assert synthmill(workspace.root, "verify").code == 0  # what lies there of v1.0.1 is v1.0.2's


def test_what_a_person_may_not_think_of_is_named(workspace):
    good(workspace.root, "promote", TWO, "prod")
    good(workspace.root, "pull", TWO)
    told = good(workspace.root, "purge", TWO, *WHY).err
    assert f"note: {TWO} is in prod, which then names no bytes: promote another release" in told
    assert f"pulled/{TWO.replace('@', '-')} is a copy that was pulled" in told
    good(workspace.root, "purge", TWO, *WHY, "--yes")
    done = synthmill(workspace.root, "promote", TWO, "dev", "--even-if-yanked")
    assert (done.code, "was purged on" in done.err) == (2, True), done.err


@pytest.mark.parametrize("step", ["folders in state", "objects in the remote", "dvc.lock"])
def test_killed_half_way_it_is_finished_by_the_same_command(workspace, step):
    """Stopped as it announces the step; the tombstone is there from the beginning."""

    class Killed(BaseException):
        pass

    def say(line: str) -> None:
        if step in line:
            raise Killed

    with pytest.raises(Killed):
        run(workspace, say)
    assert list(read_tombstones(git_of(workspace))) == [TWO]
    if step == "objects in the remote":
        assert "bytes of a purged release are still here" in synthmill(workspace.root, "verify", TWO).out

    found, _ = run(workspace, lambda line: None)
    assert found.tags == (TWO,)
    assert git(workspace.root, "tag", "-l", "*!*") == f"{TWO}!"
    assert len(stored(workspace.root)) == 2 * (
        3 + 1 + 4
    )  # of each release in each store: manifest, data, listing, and card
    assert not (workspace.state / "candidates/p2").exists()
    assert "tiny" not in git(workspace.root, "show", "HEAD:dvc.lock")
    if step == "dvc.lock":
        assert run(workspace, lambda line: None)[0].is_done
        assert "because: a request" in good(workspace.root, "verify", TWO).err


def git_of(workspace):
    from synthmill.store.git import Git

    return Git(workspace.root)


def run(workspace, say):
    """The purge of TWO, with somebody who listens."""
    from synthmill.purging import purge

    class Listener:
        def say(self, line: str) -> None:
            say(line)

        def progress(self, task: str, done: int, total: int, note: str = "") -> None:
            pass

    return purge(workspace, [TWO], "a request", Listener(), lambda: False, is_meant=True)


def test_models_and_shards_that_no_other_candidate_uses_go_and_a_yank_stays(workspace):
    git(workspace.root, "tag", "-a", f"{TWO}!", f"{TWO}^{{}}", "-m", "the ages are off")
    assert read_tombstones(git_of(workspace)) == {}
    manifest = json.loads((workspace.state / "candidates/p2/dataset/manifest.json").read_bytes())
    [job] = manifest["jobs"]
    state = workspace.state
    for folder, name, file, content in (
        ("models", job["model"], "receipt.json", {}),
        ("sources", manifest["source"], "train.parquet", {}),
        ("shards", "its", "0-8.json", {"model": job["model"]}),
        ("shards", "foreign", "0-8.json", {"model": "another"}),
    ):
        (state / folder / name).mkdir(parents=True)
        (state / folder / name / file).write_text(json.dumps(content))
    good(workspace.root, "purge", TWO, *WHY, "--yes")
    left = [path.name for folder in ("models", "sources", "shards") for path in (state / folder).glob("*")]
    assert left == ["foreign"]
    assert read_tombstones(git_of(workspace))[TWO].tag == f"{TWO}!#2"


def test_a_git_remote_that_does_not_answer_stops_it_before_anything_is_removed(workspace, tmp_path):
    git(workspace.root, "remote", "add", "origin", str(tmp_path / "gone.git"))
    before = stored(workspace.root)
    done = synthmill(workspace.root, "purge", TWO, *WHY, "--yes")
    assert done.code == 1
    assert "nothing was removed" in done.err
    assert (stored(workspace.root), git(workspace.root, "tag", "-l", "*!")) == (before, "")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("tiny@v9.0.0", *WHY), "tiny has no release v9.0.0"),
        ((TWO, "--reason", " \n"), "a purge needs a reason"),
        (("tiny", *WHY), "this names no version"),
    ],
)
def test_bad_input_is_told(workspace, arguments, words):
    done = synthmill(workspace.root, "purge", *arguments)
    assert (done.code, words in done.err) == (2, True), done.err
