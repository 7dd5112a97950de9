"""Two clones and one S3 server: what one machine finished, another finds, and what goes wrong in between is said."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from support.commands import Done, good, make_workspace, synthmill, write_recipe
from support.kills import receipts
from support.s3_state import S3, clone, serving, share

from synthmill.fingerprint import hash_folder

PREFIX = "s3://bucket/team"
RECEIPTS = "team/shards/*/*/*.json"
SLOW = "[{generator: table/noise, rows: 1500, params: {seconds: 0.05}}]"

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with serving(tmp_path_factory.mktemp("s3") / "buckets") as server:
        yield server


@pytest.fixture(scope="module")
def origin(server, tmp_path_factory):
    """A workspace in which each test works in clones of its own, with recipes of which none is like another."""
    workspace = make_workspace(tmp_path_factory.mktemp("shared") / "origin")
    half, enough = "{path: data/people.csv, holdout: 0.5}", "[{generator: table/noise, rows: 300}]"
    write_recipe(workspace, "whole", source=half, jobs=enough, scores="[fidelity/shape]")
    write_recipe(workspace, "fewer", source=half, jobs="[{generator: table/noise, rows: 250}]")
    write_recipe(workspace, "killed", jobs=SLOW)
    share(workspace, server, PREFIX)
    return workspace


def place(workspace: Path, name: str) -> Done:
    return good(workspace, "run", f"recipes/{name}.yaml", "--inline", "--place")


def reuse(workspace: Path, name: str) -> list[str]:
    return json.loads(good(workspace, "run", f"recipes/{name}.yaml", "--dry-run", "--json").out)["reuse"]


def wait_until(is_so: Callable[[], object]) -> None:
    deadline = time.monotonic() + 60
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.fixture(scope="module")
def whole(origin) -> Path:
    """The clone whose run found nothing."""
    first = clone(origin, "first")
    (first / ".synthmill").mkdir()
    (first / ".synthmill" / "private.key").write_bytes(b"the secret of private fits, here")
    assert reuse(first, "whole") == ["model of table/noise: to fit", "jobs.0: 0 of 300 rows staged"]
    done = place(first, "whole")
    assert "fit table/noise: done, 3 steps in 0 s" in done.err
    return first


def test_an_empty_clone_finds_everything_and_makes_the_same_bytes(origin, whole):
    second = clone(origin, "second")
    assert reuse(second, "whole") == [f"the complete candidate in {PREFIX}"]
    assert not (second / ".synthmill").exists()
    lines = place(second, "whole").err.splitlines()
    assert [line.partition(" ")[2].split(",")[0].split(" ")[0] for line in lines if line.startswith("state: ")] == [
        "candidate",
        "model",
    ]
    assert "assemble: found, 300 rows" in lines
    assert "score: found" in lines
    assert not any(line.startswith(("fit ", "generate ", "score: 1")) for line in lines)
    assert receipts(second) == []
    assert hash_folder(second / "datasets" / "whole") == hash_folder(whole / "datasets" / "whole")


def test_another_recipe_finds_the_model_and_no_more_shards_than_it_needs(origin, whole):
    second = clone(origin, "fewer")
    model, staged = reuse(second, "fewer")
    assert model == f"model of table/noise: found in {PREFIX}"
    assert staged == f"jobs.0: 250 of 250 rows staged, some of them in {PREFIX}"
    lines = good(second, "run", "recipes/fewer.yaml", "--inline").err.splitlines()
    assert "fit table/noise: found, 3 steps" in lines
    assert "generate 0 table/noise: found, 250 rows" in lines
    own = {(receipt.start, receipt.stop): receipt for receipt in receipts(second)}
    made = {(receipt.start, receipt.stop): receipt for receipt in receipts(whole)}
    assert own.items() < made.items()  # seconds and all: brought in, not made anew


def test_the_secret_of_private_fits_stays_where_it_is(server, whole):
    objects = server.objects("**/*")
    assert {path.relative_to(server.folder / "bucket/team").parts[0] for path in objects} == {
        "candidates",
        "measurements",
        "models",
        "shards",
        "sources",
    }
    assert not any(b"the secret of private fits" in path.read_bytes() for path in objects)


def test_a_flipped_byte_is_said_and_made_anew(server, origin, whole):
    victim = max(server.objects("team/candidates/*/*"), key=lambda path: path.stat().st_size)
    data = bytearray(victim.read_bytes())
    data[len(data) // 2] ^= 1
    victim.write_bytes(data)
    third = clone(origin, "third")
    done = place(third, "whole")
    [told] = [line for line in done.err.splitlines() if "damaged" in line]
    assert told.startswith(f"state: {PREFIX}/candidates/")
    assert "this candidate counts as not there" in told
    assert "fit table/noise: found, 3 steps" in done.err
    assert hash_folder(third / "datasets" / "whole") == hash_folder(whole / "datasets" / "whole")
    assert reuse(clone(origin, "fourth"), "whole") == [f"the complete candidate in {PREFIX}"]


@pytest.mark.parametrize(
    ("key", "secret", "words"),
    [
        ("synthmill-test", "not-the-secret-of-anybody", "the state refuses us: "),
        ("", "", "the state refuses us: Unable to locate credentials"),
    ],
)
def test_wrong_credentials_stop_a_run_before_it_works(origin, tmp_path, monkeypatch, key, secret, words):
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    for name, value in (("AWS_ACCESS_KEY_ID", key), ("AWS_SECRET_ACCESS_KEY", secret)):
        monkeypatch.setenv(name, value) if value else monkeypatch.delenv(name)
    fresh = clone(origin, f"refused-{len(key)}")
    done = synthmill(fresh, "run", "recipes/whole.yaml", "--inline")
    assert done.code == 1
    assert f"error: {PREFIX}: {words}" in done.err
    assert "credentials come from the environment, or the profile of [storage] in synthmill.toml" in done.err
    assert "not-the-secret" not in done.err
    assert not (fresh / ".synthmill" / "models").exists()


def test_a_bucket_that_is_not_there_is_named(server, origin):
    fresh = clone(origin, "nowhere")
    share(fresh, server, "s3://elsewhere/team")
    done = synthmill(fresh, "run", "recipes/whole.yaml", "--inline")
    assert done.code == 1
    assert "error: s3://elsewhere/team: the state is not there: " in done.err
    assert "make the bucket, or mend its name in synthmill.toml" in done.err


@dataclass(frozen=True)
class Interrupted:
    """A run whose server went while it made shards, what it had made, and the run after it, with the server back."""

    workspace: Path
    done: Done
    made: set[tuple[int, int, str, float]]
    again: Done


@pytest.fixture(scope="module")
def interrupted(server, origin) -> Interrupted:
    """In a place of its own on the server, so that its rows are made by itself."""
    workspace = clone(origin, "interrupted")
    share(workspace, server, "s3://bucket/other")
    watcher = threading.Thread(target=kill_once_busy, args=(server,))
    watcher.start()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("synthmill.store.shared.PATIENCE_S", 0.5)
        done = synthmill(workspace, "run", "recipes/killed.yaml", "--inline", "--place")
    watcher.join()
    made = proofs(workspace)
    server.start()
    return Interrupted(workspace, done, made, place(workspace, "killed"))


def kill_once_busy(server: S3) -> None:
    wait_until(lambda: server.objects("other/shards/*/*/*.json"))
    server.kill()


def proofs(workspace: Path) -> set[tuple[int, int, str, float]]:
    return {(receipt.start, receipt.stop, receipt.file, receipt.seconds) for receipt in receipts(workspace)}


def test_a_server_that_goes_in_the_middle_costs_nothing_that_was_made(server, interrupted):
    done, made = interrupted.done, interrupted.made
    assert done.code == 1
    assert "error: s3://bucket/other: the state does not answer: Could not connect" in done.err
    assert "run again: what is finished is kept here, and only what is missing is sent" in done.err
    assert sum(stop - start for start, stop, _, _ in made) >= 1500  # the stage came to its end
    assert "generate 0 table/noise: found, 1,500 rows" in interrupted.again.err
    assert proofs(interrupted.workspace) == made
    names = {path.name for path in server.objects("other/shards/*/*/*.json")}
    assert names == {f"{start}-{stop}.json" for start, stop, _, _ in made}
    assert server.objects("other/candidates/*/listing.json")


def test_a_killed_run_is_finished_by_another_machine(server, origin, interrupted):
    first, second = clone(origin, "killed"), clone(origin, "finisher")
    command = [Path(sys.executable).with_name("synthmill"), "run", "recipes/killed.yaml", "--inline", "--place"]
    before = set(server.objects(RECEIPTS))

    def sent() -> set[Path]:
        return set(server.objects(RECEIPTS)) - before

    with subprocess.Popen(command, cwd=first, stderr=subprocess.DEVNULL) as driver:
        wait_until(lambda: len(sent()) >= 3)
        driver.kill()
    names = {path.name for path in sent()}
    lines = place(second, "killed").err.splitlines()
    assert f"state: {len(names)} shards of jobs.0 brought in" in lines
    theirs = {f"{r.start}-{r.stop}.json": r for r in receipts(first)}
    ours = {f"{r.start}-{r.stop}.json": r for r in receipts(second)}
    assert {name: ours[name] for name in names} == {name: theirs[name] for name in names}
    assert len(ours) > len(names)
    assert hash_folder(second / "datasets" / "killed") == hash_folder(interrupted.workspace / "datasets" / "killed")
