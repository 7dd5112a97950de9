"""`synthmill release NAME`: what a run made is released later, or a release that failed goes on, and nothing is made again."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support.commands import git_status, good, make_workspace, synthmill, tree, write_recipe

pytestmark = pytest.mark.slow

SOURCE = "{path: data/people.csv, holdout: 0.5}"


def jobs(rows: int) -> str:
    return f"[{{generator: table/noise, rows: {rows}}}]"


@pytest.fixture(scope="module")
def workspace(tmp_path_factory):
    return make_workspace(tmp_path_factory.mktemp("again") / "ws")


def unplug(workspace: Path) -> None:
    (workspace / "remote").rename(workspace / "unplugged")


def plug_in(workspace: Path) -> None:
    (workspace / "unplugged").rename(workspace / "remote")


def made(workspace: Path) -> dict[str, dict]:
    return {name: tree(workspace / ".synthmill" / name) for name in ("models", "shards", "sources")}


def release(workspace: Path, *options: str) -> dict:
    return json.loads(good(workspace, "release", "people", "--json", *options).out)


def test_a_release_without_its_remote_goes_on_later_and_a_choice_is_asked_for(workspace):
    recipe = write_recipe(workspace, source=SOURCE, jobs=jobs(40))
    none = synthmill(workspace, "release", "people")
    assert (none.code, f"`synthmill run {recipe}` makes one" in none.err) == (2, True), none.err
    good(workspace, "run", recipe, "--inline")
    write_recipe(workspace, source=SOURCE, jobs=jobs(50))
    unplug(workspace)
    failed = synthmill(workspace, "run", recipe, "--inline", "--release")
    assert failed.code == 1
    assert "is not there" in failed.err
    assert "`synthmill release people` to go on" in failed.err

    several = synthmill(workspace, "release", "people")
    assert (several.code, "2 candidates" in several.err, "50 rows" in several.err) == (2, True, True), several.err
    plans = {e["rows"]: e["plan"] for e in json.loads(good(workspace, "candidates", "--json").out)}
    stale = synthmill(workspace, "release", "people", "--plan", plans[40][:12])
    assert (stale.code, "the recipe says something else" in stale.err) == (2, True), stale.err

    before = tree(workspace)
    foreseen = release(workspace, "--plan", plans[50][:12], "--dry-run")
    assert (foreseen["version"], foreseen["is_new"], foreseen["rows"]) == ("v1.0.0", True, 50)
    assert tree(workspace) == before

    kept = made(workspace)
    still = synthmill(workspace, "release", "people", "--plan", plans[50][:12])
    assert (still.code, "is not there" in still.err) == (1, True), still.err
    plug_in(workspace)
    done = release(workspace, "--plan", plans[50][:12])
    assert (done["version"], done["is_new"], done["rows"]) == ("v1.0.0", True, 50)
    assert made(workspace) == kept
    assert git_status(workspace) == "?? data/people.csv\n"

    good(workspace, "drop", plans[40][:12])
    again = release(workspace)
    assert (again["version"], again["is_new"]) == ("v1.0.0", False)
    assert "is already" in good(workspace, "release", "people", "--dry-run").out


def test_what_a_gate_blocks_is_not_released_and_an_approval_that_failed_keeps_its_reason(workspace):
    gates = "{fidelity/shape: {at_least: 1.5}}"
    recipe = write_recipe(workspace, "held", source=SOURCE, jobs=jobs(300), gates=gates)
    assert synthmill(workspace, "run", recipe, "--inline").code == 3
    blocked = synthmill(workspace, "release", "held")
    assert (blocked.code, "`synthmill approve " in blocked.err) == (3, True), blocked.err
    unplug(workspace)
    assert synthmill(workspace, "approve", "held", "on Monday").code == 1
    plug_in(workspace)
    done = json.loads(good(workspace, "release", "held", "--json").out)
    assert (done["version"], done["override"]) == ("v1.0.0", "on Monday")
