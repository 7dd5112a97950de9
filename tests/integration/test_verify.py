"""`synthmill verify` of releases: what it finds that DVC believes, whose it is, and how it is mended."""

from __future__ import annotations

import json
import re
import shlex
import shutil
from pathlib import Path

import pytest
from support.commands import good, synthmill
from support.released import flip, git, make_candidate, make_release, move_workspace, object_of, place_of

from synthmill.store.git import Git
from synthmill.store.release_steps import release
from synthmill.store.tombstones import read_tombstones
from synthmill.store.workspace import create

DATA = "data/synthetic-00000-of-00001.parquet"
ONE, TWO = "tiny@v1.0.0", "tiny@v1.0.1"


@pytest.fixture(scope="module")
def released(tmp_path_factory):
    """Two releases whose README.md is one object."""
    folder = tmp_path_factory.mktemp("verify")
    workspace = move_workspace(create(folder / "blank").root, folder / "released")
    for rows, plan in ((3, "p1"), (5, "p2")):
        make_release(workspace, rows=rows, plan=plan, card="one card\n")
    return workspace.root


@pytest.fixture
def workspace(released, tmp_path):
    return move_workspace_of(released, tmp_path / "ws")


def move_workspace_of(released: Path, root: Path):
    """A copy, in which the links between work tree and cache are made again."""
    workspace = move_workspace(released, root)
    for path in (root / "datasets/tiny").rglob("*"):
        if path.is_file():
            path.unlink()
            path.hardlink_to(object_of(workspace, TWO, path.relative_to(root / "datasets/tiny").as_posix()))
    return workspace


def found(workspace, *options: str, code: int = 1) -> dict:
    done = synthmill(workspace.root, "verify", "--json", *options)
    assert done.code == code, done.err
    return json.loads(done.out)


def faults(findings: dict) -> list[tuple[str, str, str, list[str]]]:
    return [(fault["place"], fault["state"], fault["what"], fault["releases"]) for fault in findings["faults"]]


def test_whole_releases_are_told_so_and_each_object_is_read_once(workspace):
    done = good(workspace.root, "verify")
    assert done.out.startswith("2 releases are whole: 7 objects, ")  # two listings, manifests and data, one card
    assert "verify cache: 7 of 7" in done.err
    assert "verify remote: 7 of 7" in done.err


def test_a_flipped_byte_that_dvc_believes_is_found_with_its_releases_and_mended(workspace):
    """The work tree is mended too, where its file is the damage itself and not somebody's edit."""
    mine, data = workspace.root / "datasets/tiny/README.md", workspace.root / "datasets/tiny" / DATA
    whole = data.read_bytes()
    mine.unlink()
    mine.write_text("mine\n")
    for path in ("README.md", DATA):
        flip(object_of(workspace, TWO, path))
    flip(object_of(workspace, ONE, DATA, "remote"))
    assert data.read_bytes() != whole
    done = synthmill(workspace.root, "verify")
    name = object_of(workspace, TWO, DATA)
    assert done.code == 1
    assert f"cache: {DATA} of {TWO} is damaged (object {name.parent.name}{name.name})" in done.out.splitlines()
    assert "`synthmill verify --repair`" in done.err

    findings = found(workspace, "--repair", code=0)
    assert sorted(faults(findings)) == [
        ("cache", "damaged", "README.md", [ONE, TWO]),
        ("cache", "damaged", DATA, [TWO]),
        ("remote", "damaged", DATA, [ONE]),
    ]
    assert all(fault["is_mended"] for fault in findings["faults"])
    assert (data.read_bytes(), object_of(workspace, TWO, DATA).read_bytes()) == (whole, whole)
    assert object_of(workspace, TWO, DATA).stat().st_mode & 0o777 == 0o444
    assert object_of(workspace, ONE, DATA, "remote").read_bytes() == object_of(workspace, ONE, DATA).read_bytes()
    assert mine.read_text() == "mine\n"


def test_what_the_remote_lacks_is_found_and_sent(workspace):
    lacking = [object_of(workspace, ONE, DATA, "remote"), object_of(workspace, TWO, "", "remote")]
    for path in lacking:  # DVC takes the listing as proof that all files are there
        path.unlink()
    assert sorted(faults(found(workspace, "--repair", code=0))) == [
        ("remote", "missing", DATA, [ONE]),
        ("remote", "missing", "its listing", [TWO]),
    ]
    assert all(path.exists() for path in lacking)


def test_what_neither_side_holds_is_not_mended(workspace):
    for store in (".dvc/cache", "remote"):
        flip(object_of(workspace, ONE, DATA, store))
    before = object_of(workspace, ONE, DATA).read_bytes()
    done = synthmill(workspace.root, "verify", "--repair")
    assert done.code == 1
    assert "2 of 2 faults are not mended" in done.err
    assert "another clone's cache" in done.err
    assert object_of(workspace, ONE, DATA).read_bytes() == before  # nothing is thrown away for nothing


def test_a_cache_need_not_hold_everything(workspace):
    shutil.rmtree(workspace.root / ".dvc/cache")
    assert "note: 7 objects are not in this cache" in good(workspace.root, "verify").err


def test_sizes_alone_find_what_was_cut_and_not_what_was_flipped(workspace):
    flip(object_of(workspace, ONE, DATA, "remote"))
    cut = object_of(workspace, TWO, DATA, "remote")
    cut.chmod(0o644)
    cut.write_bytes(cut.read_bytes()[:-1])
    assert faults(found(workspace, "--remote", "--sizes-only")) == [("remote", "damaged", DATA, [TWO])]


def test_a_lightweight_tag_and_a_commit_without_the_dataset_are_found(workspace):
    git(workspace.root, "tag", "light@v1.0.0")
    assert [fault[:3] for fault in faults(found(workspace, "light@v1.0.0"))] == [
        ("git", "wrong", "a tag that is not annotated, which neither DVC nor GTO sees,"),
        ("git", "wrong", "a dvc.lock that does not record the dataset"),
    ]


def test_a_manifest_that_says_otherwise_than_the_listing_is_found(released, tmp_path):
    workspace = move_workspace_of(released, tmp_path / "ws")
    request = make_candidate(workspace, name="liar", rows=4, plan="p3")
    manifest = request.candidate / "manifest.json"
    told = json.loads(manifest.read_bytes())
    told["files"][0]["sha256"] = "0" * 64
    told["files"][1] |= {"path": "data/other.parquet", "rows": 9}
    manifest.write_text(json.dumps(told))
    release(workspace, request, lambda line: None)
    lines = [fault[2] for fault in faults(found(workspace, "liar@v1.0.0"))]
    assert lines == [
        f"{DATA}, which the manifest does not name,",
        "data/other.parquet, which the listing does not name,",
        "another SHA-256 of README.md",
        "4 rows where its files have 9",
    ]


def test_the_commands_of_the_guide_work(workspace):
    text = (Path(__file__).parents[2] / "docs/guides/keep-and-delete.md").read_text().replace("fair", "tiny")
    commands = [line for block in re.findall(r"```bash\n(.*?)```", text, re.DOTALL) for line in block.splitlines()]
    for line in commands:
        _, *words = shlex.split(line, comments=True)
        good(workspace.root, *words)
    assert read_tombstones(Git(workspace.root))[ONE].reason == "request 4711 of a data subject"
    assert not object_of(workspace, TWO, DATA).samefile(object_of(workspace, TWO, DATA, "remote"))


@pytest.mark.parametrize(
    ("name", "words"), [("tiny@v9.0.0", "there are v1.0.0, v1.0.1"), ("nobody", "there are releases of tiny")]
)
def test_a_release_that_does_not_exist_is_bad_input(workspace, name, words):
    done = synthmill(workspace.root, "verify", name)
    assert (done.code, done.out) == (2, "")
    assert words in done.err


def test_a_remote_that_is_not_there_is_told_and_the_cache_can_be_asked_alone(workspace):
    (workspace.root / "remote").rename(workspace.root / ".synthmill/unplugged")
    done = synthmill(workspace.root, "verify")
    assert done.code == 1
    assert "is not there (moved, or not mounted?)" in done.err
    assert "--cache" in done.err
    assert good(workspace.root, "verify", ONE, "--cache").out.startswith("1 release is whole: 4 objects, ")
    assert not place_of(workspace, "0" * 32, "remote").parents[3].exists()
