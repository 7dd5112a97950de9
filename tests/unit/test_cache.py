"""Objects in a local folder: what becomes one, what it shares with its file, and what is refused."""

import os

import pytest

from synthmill.store.cache import LocalStore, fill, link_out
from synthmill.store.local_remote import send
from synthmill.store.objects import read_tree


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "data/inner").mkdir(parents=True)
    for name, content in (("a", b"one"), ("b", b"two"), ("inner/c", b"one")):
        (tmp_path / "data" / name).write_bytes(content)
    return tmp_path / "data"


@pytest.fixture
def store(tmp_path):
    (tmp_path / "cache").mkdir()
    return LocalStore(tmp_path / "cache")


def contents(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("kind", ["hardlink", "symlink", "copy"])
def test_files_become_objects_and_are_linked_to_them(folder, store, kind):
    tree, before = read_tree(folder), contents(folder)
    assert fill(store, folder, tree, [kind]) == []
    link_out(store, folder, tree, [kind])
    assert store.lacking(tree.objects()) == []
    assert contents(folder) == before
    assert len(list(store.root.rglob("*"))) == 6, "three objects, three folders, nothing aside"
    path, file = store.path(tree.files["b"]), folder / "b"
    assert (path.samefile(file), file.is_symlink()) == (kind != "copy", kind == "symlink")
    assert path.stat().st_mode & 0o777 == 0o444


def test_a_file_that_is_not_what_was_placed_is_named_and_nothing_is_kept(folder, store):
    tree = read_tree(folder)
    (folder / "b").write_bytes(b"owt")
    assert fill(store, folder, tree, ["hardlink"]) == ["b"]
    assert [path for path in store.root.rglob("*") if path.is_file()] == []


def test_a_damaged_object_gives_way_and_the_file_is_linked_to_the_whole_one(folder, store):
    tree = read_tree(folder)
    damaged = store.path(tree.files["b"])
    damaged.parent.mkdir()
    damaged.write_bytes(b"owt")
    assert fill(store, folder, tree, ["hardlink"]) == []
    assert damaged.read_bytes() == b"two"


def test_a_remote_gets_what_it_lacks_or_holds_damaged_and_nothing_else(folder, store, tmp_path):
    tree, remote = read_tree(folder), LocalStore(tmp_path / "remote")
    remote.root.mkdir()
    fill(store, folder, tree, ["hardlink"])
    assert set(send(store, remote, tree.objects(), may_share=False)) == set(tree.objects())
    assert send(store, remote, tree.objects(), may_share=False) == []
    damaged = remote.path(tree.files["b"])
    damaged.chmod(0o644)
    damaged.write_bytes(b"owt")
    assert send(store, remote, tree.objects(), may_share=False) == [tree.files["b"], tree.address]
    assert remote.lacking(tree.objects()) == []


def test_what_a_kill_left_goes_after_a_day_and_not_before(folder, store):
    tree = read_tree(folder)
    for name, age in ((".tmp-old", 100_000), (".tmp-young", 10)):
        (store.root / name).mkdir()
        (store.root / name / "half").touch()
        then = (store.root / name).stat().st_mtime - age
        os.utime(store.root / name, (then, then))
    fill(store, folder, tree, ["hardlink"])
    assert [path.name for path in store.root.glob(".tmp-*")] == [".tmp-young"]
