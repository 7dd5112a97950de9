"""What a person calls a release, and what tags say of it: in real repositories that hold nothing but tags."""

import json
import os
import subprocess
from pathlib import Path

import pytest

from synthmill.errors import InputError
from synthmill.store.git import Git
from synthmill.store.references import resolve, stages_of, yanked
from synthmill.store.stage_tags import read_stage_tags
from synthmill.store.versions import Version, read_releases

V1, V2, V3 = Version(1, 0, 0), Version(1, 1, 0), Version(2, 0, 0)


class Repository:
    """A git repository whose clock goes on by a minute with every commit and tag."""

    def __init__(self, root: Path) -> None:
        self.root, self.time = root, 1_700_000_000
        self("init", "--quiet", "--initial-branch=main")

    def __call__(self, *arguments: str) -> str:
        self.time += 60
        person = {f"GIT_{role}_{part}": "a@b.c" for role in ("AUTHOR", "COMMITTER") for part in ("NAME", "EMAIL")}
        env = {**os.environ, **person, "GIT_COMMITTER_DATE": f"{self.time} +0000"}
        command = ["git", *arguments]
        return subprocess.run(command, cwd=self.root, env=env, check=True, capture_output=True, text=True).stdout

    def release(self, dataset: str, *versions: Version) -> None:
        for version in versions:
            (self.root / "metrics").mkdir(exist_ok=True)
            (self.root / f"metrics/{dataset}.json").write_text(json.dumps({"rows": version.major}))
            self("add", ".")
            self("commit", "--quiet", "--allow-empty", "-m", "a release")
            self("tag", "-a", f"{dataset}@{version}", "-m", "a release")

    def tag(self, name: str, version: str, message: str = "by hand") -> None:
        self("tag", "-a", name, f"{version}^{{}}", "-m", message)


@pytest.fixture
def repository(tmp_path):
    made = Repository(tmp_path)
    made.release("fair", V1, V2, V3)
    return made


@pytest.fixture
def git(repository):
    return Git(repository.root)


def test_a_version_a_stage_and_the_latest_are_found(repository, git):
    repository.tag("fair#prod#1", "fair@v1.1.0")
    assert resolve(git, "fair@v1.0.0").version == V1
    assert resolve(git, "fair@prod").tag == resolve(git, "fair#prod").tag == "fair@v1.1.0"
    assert resolve(git, "fair").version == V3
    assert resolve(git, "fair@v2.0.0").rows == 2


def test_the_latest_skips_what_is_yanked_and_a_pin_does_not(repository, git):
    repository.tag("fair@v2.0.0!", "fair@v2.0.0", "ages are off")
    assert resolve(git, "fair").version == V2
    assert resolve(git, "fair@v2.0.0").version == V3
    assert yanked(git, "fair") == {V3: "ages are off"}
    for version in (V1, V2):
        repository.tag(f"fair@{version}!#7", f"fair@{version}")  # the form that GTO counts
    with pytest.raises(InputError, match=r"every release of it is yanked(.|\n)*fair@v2.0.0"):
        resolve(git, "fair")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("fiar", "fiar has no release\n  did you mean fair\\? there are releases of fair"),
        ("fa*", r"fa\* has no release"),
        ("fair@v3.0.0", r"fair has no release v3.0.0\n  there are v1.0.0, v1.1.0, v2.0.0"),
        ("fair@1.0.0", r"1.0.0 is no version, which is written vX.Y.Z\n  there are v1.0.0"),
        ("fair@prd", r"no release of fair is in the stage prd\n  did you mean prod\? prod is v1.0.0"),
        ("fair@staging", r"no release of fair is in the stage staging\n  prod is v1.0.0"),
        ("fair@a@b", r"this names no release\n  write NAME@v1.0.0"),
        ("", "this names no release"),
    ],
)
def test_what_is_not_there_is_answered_with_what_is(repository, git, text, words):
    repository.tag("fair#prod#1", "fair@v1.0.0")
    with pytest.raises(InputError, match=words) as caught:
        resolve(git, text)
    assert caught.value.where == text


def test_a_workspace_without_releases_says_so(tmp_path):
    Repository(tmp_path)
    with pytest.raises(InputError, match=r"fair has no release\n  this workspace has no release yet"):
        resolve(Git(tmp_path), "fair")
    assert stages_of(Git(tmp_path), "fair") == yanked(Git(tmp_path), "fair") == {}


def test_the_highest_number_holds_and_what_is_taken_away_does_not(repository, git):
    for number, version in ((9, V1), (10, V2)):
        repository.tag(f"fair#prod#{number}", f"fair@{version}")
    repository.tag("fair#staging", "fair@v2.0.0")  # GTO's form without a number
    repository.tag("fair-two#prod#11", "fair@v2.0.0")
    repository("tag", "fair#prod#12", "fair@v2.0.0^{}")  # lightweight, so nothing
    assert stages_of(git, "fair") == {"prod": V2, "staging": V3}
    repository.tag("fair#prod!#11", "fair@v1.1.0")
    assert stages_of(git, "fair") == {"prod": V1, "staging": V3}
    assert read_stage_tags(git)["fair"].next_number("prod") == 12
    assert set(read_stage_tags(git)) == {"fair", "fair-two"}


@pytest.mark.parametrize(
    ("path", "before"),
    [
        ("1", ""),
        ("1 2", "1"),
        ("1 2 3", "21"),
        ("1 2 3 <2", "1"),  # rolled back from 3
        ("1 2 3 <2 <1", ""),
        ("1 2 3 <1", ""),  # --to 1 leaves 2 as well
        ("1 2 3 <2 3", "21"),  # 3 was mended by nobody, but a person wants it
        ("1 2 1", "2"),  # promoted again, which is no rollback
        ("1 2 1 <2", ""),  # 1 was left
        ("1 2 -2", ""),  # without 2 it is back at 1, where it began
    ],
)
def test_a_stage_goes_back_along_its_path_and_not_to_what_it_was_rolled_back_from(repository, git, path, before):
    versions = {"1": V1, "2": V2, "3": V3}
    commits = {
        release.commit: str(release.version.major * 2 - 1 + release.version.minor) for release in read_releases(git)
    }
    for number, step in enumerate(path.split(), start=1):
        cancel, message = "!" * step.startswith("-"), "Rolled back from x" if step.startswith("<") else "by hand"
        repository.tag(f"fair#prod{cancel}#{number}", f"fair@{versions[step[-1]]}", message)
    found = read_stage_tags(git)["fair"].commits_before("prod")
    assert "".join(commits[commit] for commit in found) == before


def test_a_thousand_releases_are_read_by_two_processes(repository, git, monkeypatch):
    head = repository("rev-parse", "HEAD").strip()
    lines = [f"create refs/tags/many@v{major}.0.0 {head}\n" for major in range(1, 1001)]
    subprocess.run(["git", "update-ref", "--stdin"], cwd=repository.root, input="".join(lines), text=True, check=True)
    started = []
    start = Git._start
    monkeypatch.setattr(
        Git, "_start", lambda self, *words, **more: started.append(words[0]) or start(self, *words, **more)
    )
    assert [release.version.major for release in read_releases(git, "many")] == list(range(1, 1001))
    assert started == ["for-each-ref", "cat-file"]
