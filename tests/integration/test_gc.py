"""`synthmill gc`: what nobody needs goes once it is old, and nothing that anybody names does."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import replace
from pathlib import Path

import pytest
from support.commands import good, synthmill, write_recipe
from support.released import git, make_candidate, make_release, move_workspace, object_of, place_of

from synthmill.origin import origin_of
from synthmill.plan import Ancestor
from synthmill.recipe_file import load_recipe
from synthmill.resolve import read_real
from synthmill.store.ancestors import Link
from synthmill.store.files import sharing
from synthmill.store.release_steps import release
from synthmill.store.state import State
from synthmill.store.workspace import Workspace, create

DATA = "data/synthetic-00000-of-00001.parquet"
ONE, TWO = "tiny@v1.0.0", "tiny@v1.0.1"
STORES = (".dvc/cache", "remote")


@pytest.fixture(scope="module")
def released(tmp_path_factory):
    folder = tmp_path_factory.mktemp("gc")
    workspace = move_workspace(create(folder / "blank").root, folder / "released")
    for rows, plan in ((3, "p1"), (5, "p2")):
        make_release(workspace, rows=rows, plan=plan)
    return workspace.root


@pytest.fixture
def workspace(released, tmp_path) -> Workspace:
    """Everything in it is as old as can be."""
    workspace = move_workspace(released, tmp_path / "ws")
    for store in STORES:
        age(workspace.root / store)
    age(workspace.state / "candidates")
    return workspace


def age(path: Path) -> None:
    """Make all of it old."""
    for file in [path, *path.rglob("*")]:
        os.utime(file, (0, 0))


def put(workspace: Workspace, content: bytes, store: str = ".dvc/cache", kind: str = "") -> str:
    """An old object; its name."""
    name = hashlib.md5(content, usedforsecurity=False).hexdigest() + kind
    place = place_of(workspace, name, store)
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_bytes(content)
    os.utime(place, (0, 0))
    return name


def listing(*names: str) -> bytes:
    return json.dumps([{"md5": name, "relpath": f"{i}.bin"} for i, name in enumerate(names)]).encode()


def is_there(workspace: Workspace, *names: str, store: str = ".dvc/cache") -> list[bool]:
    return [place_of(workspace, name, store).exists() for name in names]


def lots(workspace: Workspace, *options: str) -> dict[str, list[str]]:
    """What goes, by kind."""
    found = json.loads(good(workspace.root, "gc", "--json", *options).out)["lots"]
    return {lot["what"]: [Path(name).name for name in lot["names"]] for lot in found}


# Objects


def test_without_yes_it_only_tells(workspace):
    name = put(workspace, b"rubbish")
    done = good(workspace.root, "gc")
    head, _, *rows = done.out.splitlines()
    assert head.split() == ["what", "how", "many", "bytes", "why"]
    assert rows[-1].split() == [
        "objects",
        "in",
        "the",
        "cache",
        "1",
        "7",
        "B",
        *["no", "tag,", "branch", "or", "work", "tree", "names", "them"],
    ]
    assert "nothing was deleted; --yes frees" in done.err
    assert is_there(workspace, name) == [True]
    assert (workspace.state / "candidates/p1").is_dir()


def test_what_anything_names_stays_and_what_nothing_names_goes(workspace):
    root = workspace.root
    on_branch, staged, untracked = (put(workspace, content) for content in (b"on a branch", b"staged", b"untracked"))
    file = put(workspace, b"in a folder")
    folder = put(workspace, listing(file), kind=".dir")
    rubbish = put(workspace, b"rubbish"), put(workspace, b"rubbish in a folder")
    rubbish = (*rubbish, put(workspace, listing(rubbish[1]), kind=".dir"))
    (root / "deep").mkdir()
    for path, name in (("deep/branch.bin.dvc", on_branch), ("deep/folder.dvc", folder)):
        (root / path).write_text(f"outs:\n- md5: {name}\n  path: x\n")
    git(root, "add", "deep")
    git(root, "commit", "--quiet", "-m", "mine")
    git(root, "branch", "side")
    git(root, "reset", "--quiet", "--hard", "HEAD~1")
    (root / "staged.dvc").write_text(f"outs:\n- md5: {staged}\n  path: x\n")
    git(root, "add", "staged.dvc")
    (root / "staged.dvc").unlink()
    (root / "untracked.dvc").write_text(f"outs:\n- md5: {untracked}\n  path: x\n")

    assert sorted(lots(workspace, "--yes")["objects in the cache"]) == sorted(rubbish)
    assert is_there(workspace, *rubbish) == [False] * 3
    assert is_there(workspace, on_branch, staged, untracked, file, folder) == [True] * 5
    assert all(object_of(workspace, tag, path).exists() for tag in (ONE, TWO) for path in ("README.md", DATA, ""))


def test_what_is_young_stays_with_what_it_lists(workspace):
    young, old = put(workspace, b"young"), put(workspace, b"an old file of a young folder")
    folder = put(workspace, listing(old), kind=".dir")
    for name in (young, folder):
        os.utime(place_of(workspace, name))
    assert "objects in the cache" not in lots(workspace)
    assert sorted(lots(workspace, "--days", "0")["objects in the cache"]) == sorted([young, old, folder])


def test_the_remote_is_touched_when_that_is_asked_alone(workspace):
    name = put(workspace, b"rubbish", "remote")
    assert "objects in the remote" not in lots(workspace, "--yes")
    assert is_there(workspace, name, store="remote") == [True]
    assert lots(workspace, "--yes", "--remote")["objects in the remote"] == [name]
    assert is_there(workspace, name, store="remote") == [False]
    assert all(object_of(workspace, tag, DATA, "remote").exists() for tag in (ONE, TWO))


def test_a_listing_that_is_nowhere_stops_it_and_one_of_a_dependency_does_not(workspace):
    name, lock = put(workspace, b"rubbish"), workspace.root / "dvc.lock"
    lost = "0" * 32 + ".dir"
    mine = f"  mine:\n    cmd: x\n    deps:\n    - path: pictures\n      md5: {lost}\n"
    before = lock.read_text()
    lock.write_text(before + mine)
    assert lots(workspace)["objects in the cache"] == [name]
    lock.write_text(before + mine.replace("deps", "outs"))
    done = good(workspace.root, "gc", "--yes")
    assert f"the cache is left alone: dvc.lock of the work tree: the listing {lost}" in done.err
    assert is_there(workspace, name) == [True]


def test_a_listing_that_only_the_remote_has_is_asked_for_there(workspace):
    name = put(workspace, b"rubbish")
    object_of(workspace, ONE, "").unlink()
    assert lots(workspace, "--yes")["objects in the cache"] == [name]


def test_a_cache_outside_of_the_workspace_is_left_alone(workspace, tmp_path):
    local = workspace.root / ".dvc/config.local"
    local.write_text(f"{local.read_text()}[cache]\n    dir = {tmp_path / 'shared'}\n")
    assert "others may use it" in good(workspace.root, "gc", "--yes").err


def test_what_somebody_purged_goes_from_the_caches_of_others(workspace):
    head = git(workspace.root, "rev-parse", f"{TWO}^{{}}")
    git(workspace.root, "tag", "-a", f"{TWO}!", head, "-m", "purged: a request")
    names = [object_of(workspace, TWO, path) for path in ("README.md", DATA, "manifest.json", "")]
    assert sorted(lots(workspace)["objects in the cache"]) == sorted(f"{path.parent.name}{path.name}" for path in names)


# State


def kept_in(workspace: Workspace, folder: str) -> list[str]:
    return sorted(path.name for path in (workspace.state / folder).glob("*"))


def make_state(workspace: Workspace, name: str) -> None:
    """Old work of every kind under a fingerprint."""
    state = State(workspace.state)
    for folder in (state.model(name), state.source(name), state.staging(name)):
        folder.mkdir(parents=True)
        (folder / "file").write_text("some bytes\n")
        age(folder)
    for file in (state.checkpoint(name), state.measurements / f"{name}.json"):
        file.parent.mkdir(exist_ok=True)
        file.write_text("some bytes\n")
        age(file)


def test_old_work_goes_and_what_was_used_lately_stays(workspace):
    for name in ("old", "used"):
        make_state(workspace, name)
    for path in (workspace.state / "models/used/file", workspace.state / "shards/used/file"):
        os.utime(path)
    assert lots(workspace, "--yes") == {
        "candidates": ["p1", "p2"],
        "models": ["old"],
        "checkpoints": ["old.safetensors", "used.safetensors"],
        "shards": ["old"],
        "sources": ["old", "used"],
        "measurements": ["old.json", "used.json"],
    }
    assert (kept_in(workspace, "models"), kept_in(workspace, "shards")) == (["used"], ["used"])
    assert kept_in(workspace, "sources") == []


def test_what_a_young_candidate_needs_stays(workspace):
    (workspace.root / "data").mkdir()
    rows = [f"{i},{i % 7},{'abc'[i % 3]}" for i in range(300)]
    (workspace.root / "data/people.csv").write_text("\n".join(["age,score,city", *rows, ""]))
    recipe = workspace.root / write_recipe(workspace.root)
    read = load_recipe(recipe)
    plan = read_real(read, workspace).plan(read, workspace)
    [model], [job] = plan.models, plan.jobs
    needed = (model.fingerprint, plan.source.fingerprint, job.strata[0].staging)
    for name in (*needed, "old"):
        make_state(workspace, name)
    folder = State(workspace.state).candidate(plan.fingerprint)
    folder.mkdir()
    (folder / "origin.json").write_text(origin_of(workspace, plan, recipe).model_dump_json(by_alias=True))
    gone = lots(workspace, "--yes")
    assert gone["candidates"] == ["p1", "p2"]
    for kind, name in zip(("models", "sources", "shards"), needed, strict=True):
        assert kept_in(workspace, kind) == [name]


def test_what_the_next_warm_start_goes_on_from_stays(workspace):
    link = Link(model="last", source="its", train="t", before=Ancestor(model="first", source="its"))
    request = make_candidate(workspace, name="warm", plan="p5")
    metrics = {**request.metrics, "models": {"kin": link.model_dump(mode="json")}}
    release(workspace, replace(request, metrics=metrics), lambda line: None)
    for name in ("last", "first", "its", "old"):
        make_state(workspace, name)
    assert lots(workspace, "--yes")["models"] == ["its", "old"]
    assert (kept_in(workspace, "models"), kept_in(workspace, "sources")) == (["first", "last"], ["its"])


def test_while_a_run_works_its_state_is_left_alone(workspace):
    make_state(workspace, "old")
    name = put(workspace, b"rubbish")
    with sharing(State(workspace.state).in_use):
        done = good(workspace.root, "gc", "--yes")
    assert "state is left alone: a run works in this state" in done.err
    assert kept_in(workspace, "models") == ["old"]
    assert is_there(workspace, name) == [False]


def test_a_negative_age_is_bad_input(workspace):
    assert synthmill(workspace.root, "gc", "--days", "-1").code == 2
