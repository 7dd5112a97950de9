"""`synthmill.load` from real git and DVC repositories: what is found, fetched once, checked, warned of and refused."""

import shutil
import subprocess
import sys
import time
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from support.hand_made import release_dataset, rows_of

import synthmill
from synthmill.errors import InputError, StorageError
from synthmill.store.dvc import get
from synthmill.store.fetched import default_cache
from synthmill.store.workspace import create, find

ROWS, MORE = 30, 50


@pytest.fixture(scope="module")
def released(tmp_path_factory):
    """tiny@v1.0.0 with 30 rows and 5 real ones, tiny@v1.0.1 with 50."""
    root = create(tmp_path_factory.mktemp("load") / "ws").root
    assert release_dataset(find(root), ROWS, real=5) == "tiny@v1.0.0"
    assert release_dataset(find(root), MORE, files=2) == "tiny@v1.0.1"
    return root


@pytest.fixture
def moved(released, tmp_path):
    """The same workspace in a place of its own, for a test that harms it."""
    root = tmp_path / "ws"
    shutil.copytree(released, root)
    for name in ("config", "config.local"):
        path = root / ".dvc" / name
        path.write_text(path.read_text().replace(str(released), str(root)))
    git(root, "commit", "--quiet", "-am", "Move the workspace")
    return root


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    """Filled by the first test that loads."""
    return tmp_path_factory.mktemp("cache")


def git(root: Path, *arguments: str) -> None:
    person = ["-c", "user.name=A Person", "-c", "user.email=person@example.org"]
    subprocess.run(["git", *person, *arguments], cwd=root, check=True, capture_output=True)


def tag_as_gone(root: Path, version: str, reason: str) -> None:
    git(root, "tag", "-a", f"tiny@{version}!", f"tiny@{version}^{{}}", "-m", reason)


@pytest.mark.parametrize(
    ("reference", "version", "rows"),
    [("tiny@v1.0.0", "v1.0.0", ROWS), ("tiny", "v1.0.1", MORE), ("tiny@prod", "v1.0.0", ROWS)],
)
def test_a_release_is_loaded_by_version_stage_and_name(released, cache, reference, version, rows):
    if "prod" in reference:
        git(released, "tag", "-a", "tiny#prod#1", "tiny@v1.0.0^{}", "-m", "prod")
    release = synthmill.load(reference, repo=released, cache=cache)
    assert (release.version, release.manifest.rows) == (version, rows)
    assert release.arrow().to_table().equals(rows_of(range(rows)))
    assert release.folder.is_relative_to(cache)
    assert release.folder.name == "tiny"
    for path in (path for path in release.folder.rglob("*") if path.is_file()):
        assert (path.stat().st_mode & 0o777, path.stat().st_nlink) == (
            0o444,
            1,
        )  # an edit harms neither it nor DVC's cache


def test_real_rows_that_are_released_are_mixed_in(released, cache):
    frame = synthmill.load("tiny@v1.0.0", repo=released, cache=cache, mix_real=5).pandas()
    assert frame["count"].tolist() == [*range(ROWS), *range(1000, 1005)]
    with pytest.raises(InputError, match="tiny holds no real rows"):
        synthmill.load("tiny@v1.0.1", repo=released, cache=cache, mix_real=5)


def test_the_work_tree_has_no_say(released, tmp_path):
    """It holds v1.0.1, and a clone of it holds nothing."""
    git(tmp_path, "clone", "--quiet", str(released), "clone")
    release = synthmill.load("tiny@v1.0.0", repo=tmp_path / "clone", cache=tmp_path / "cache")
    assert len(release.pandas()) == ROWS
    assert not (tmp_path / "clone" / "datasets" / "tiny").exists()


def test_a_git_url_is_loaded_and_the_second_call_needs_neither_git_nor_dvc(moved, tmp_path):
    url, cache = f"file://{moved}", tmp_path / "cache"
    first = synthmill.load("tiny@v1.0.0", repo=url, cache=cache)
    assert synthmill.load("tiny", repo=url, cache=cache).version == "v1.0.1"
    moved.rename(tmp_path / "away")
    again = synthmill.load("tiny@v1.0.0", repo=url, cache=cache)
    assert again.folder == first.folder
    assert len(again.pandas()) == ROWS
    assert synthmill.load("tiny", repo=url, cache=cache).version == "v1.0.1"  # what was last heard of
    with pytest.raises(InputError, match="no repository to load from"):
        synthmill.load("tiny@v9.0.0", repo=url, cache=cache)


def test_a_mirror_learns_of_new_releases_and_once_a_day_of_yanks(moved, tmp_path, monkeypatch):
    url, cache = f"file://{moved}", tmp_path / "cache"
    assert synthmill.load("tiny", repo=url, cache=cache).version == "v1.0.1"
    release_dataset(find(moved), 70)
    assert synthmill.load("tiny@v1.0.2", repo=url, cache=cache).version == "v1.0.2"
    tag_as_gone(moved, "v1.0.2", "ages are off")
    synthmill.load("tiny@v1.0.2", repo=url, cache=cache)  # no network for a version that is there
    tomorrow = time.time() + 86_401
    monkeypatch.setattr("synthmill.store.repository.time.time", lambda: tomorrow)
    with pytest.warns(synthmill.YankedRelease, match="ages are off"):
        synthmill.load("tiny@v1.0.2", repo=url, cache=cache)
    assert synthmill.load("tiny", repo=url, cache=cache).version == "v1.0.1"


def test_a_yanked_release_warns_and_a_purged_one_is_refused(moved, cache):
    tag_as_gone(moved, "v1.0.1", "ages are off")
    with pytest.warns(synthmill.YankedRelease, match=r"tiny@v1.0.1 is yanked: ages are off") as caught:
        assert len(synthmill.load("tiny@v1.0.1", repo=moved, cache=cache).pandas()) == MORE
    assert caught[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert synthmill.load("tiny", repo=moved, cache=cache).version == "v1.0.0"
    tag_as_gone(moved, "v1.0.0", "purged: on request")
    with pytest.raises(InputError, match=r"tiny@v1.0.0 was purged: on request"):
        synthmill.load("tiny@v1.0.0", repo=moved, cache=cache)


@pytest.mark.parametrize(
    ("reference", "repo", "message"),
    [
        ("tiny@v3.0.0", "released", "tiny has no release v3.0.0"),
        ("tyni", "released", "tyni has no release"),
        ("tiny@staging", "released", "no release of tiny is in the stage staging"),
        ("tiny", "nowhere", "no repository to load from"),
        ("tiny", "folder", "no Synthmill workspace"),
    ],
)
def test_what_does_not_exist_is_named(released, cache, tmp_path, reference, repo, message):
    (tmp_path / "folder").mkdir()
    with pytest.raises(InputError, match=message):
        synthmill.load(reference, repo=released if repo == "released" else tmp_path / repo, cache=cache)


def test_what_is_damaged_on_the_way_is_not_loaded(moved, tmp_path):
    objects = [path for store in (".dvc/cache", "remote") for path in (moved / store).rglob("*") if path.is_file()]
    large = [path for path in objects if path.read_bytes().startswith(b"PAR1")]
    assert large
    for path in large:
        content = path.read_bytes()
        path.chmod(0o644)
        path.write_bytes(content[:50] + bytes([content[50] ^ 1]) + content[51:])
        path.chmod(0o444)
    with pytest.raises(StorageError, match=r"tiny@v1\.0\.0 arrived damaged"):
        synthmill.load("tiny@v1.0.0", repo=moved, cache=tmp_path / "cache")
    assert not list((tmp_path / "cache" / "releases").rglob("*.parquet"))


def test_what_the_remote_lost_is_said(moved, tmp_path):
    for store in (".dvc/cache", "remote"):
        shutil.rmtree(moved / store)
    with pytest.raises(StorageError, match=r"`dvc get` of datasets/tiny failed(.|\n)*remote"):
        synthmill.load("tiny@v1.0.0", repo=moved, cache=tmp_path / "cache")


@pytest.mark.parametrize("harm", ["missing", "cut", "manifest"])
def test_a_cache_that_was_harmed_is_filled_anew(released, cache, harm):
    release = synthmill.load("tiny@v1.0.0", repo=released, cache=cache)
    path = release.folder / "manifest.json" if harm == "manifest" else release.files[0]
    path.chmod(0o644)
    path.write_bytes(path.read_bytes()[:-3]) if harm == "cut" else path.unlink()
    assert len(synthmill.load("tiny@v1.0.0", repo=released, cache=cache).pandas()) == ROWS


def test_a_killed_fetch_leaves_nothing_that_is_taken_for_a_release(released, cache):
    folder = synthmill.load("tiny@v1.0.0", repo=released, cache=cache).folder
    folder.rename(folder.with_name(".tmp-0-tiny"))
    (folder.with_name(".tmp-0-tiny") / "manifest.json").unlink()
    again = synthmill.load("tiny@v1.0.0", repo=released, cache=cache)
    assert len(again.pandas()) == ROWS
    assert [path.name for path in folder.parent.iterdir()] == ["tiny"]


def test_who_loads_at_the_same_time_waits_for_the_one_that_fetches(released, tmp_path, monkeypatch):
    """Threads stand for processes: the lock is that of an open file."""
    fetched = []
    monkeypatch.setattr("synthmill.store.fetched.get", lambda *given, **more: (fetched.append(1), get(*given, **more)))
    with ThreadPoolExecutor() as threads:
        runs = [threads.submit(synthmill.load, "tiny@v1.0.1", repo=released, cache=tmp_path) for _ in range(3)]
    assert [len(run.result().pandas()) for run in runs] == [MORE] * 3
    assert fetched == [1]


def test_the_cache_is_in_the_users_cache_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert default_cache() == tmp_path / "synthmill"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert default_cache() == tmp_path / ".cache" / "synthmill"


def test_importing_synthmill_is_light():
    heavy = ["pyarrow", "pandas", "polars", "torch", "dvc", "numpy", "pydantic"]
    code = f"import sys, synthmill; print(sorted(set({heavy!r}) & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
