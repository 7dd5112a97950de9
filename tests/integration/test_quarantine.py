"""Gates that block, warn, compare with an earlier release or are overridden; what a blocked candidate can become; what DVC compares."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from support.commands import git_status, good, make_workspace, synthmill, tree, write_recipe

from synthmill.store.manifest import check, read_manifest

GUIDE = Path(__file__).parents[2] / "docs" / "guides" / "gates.md"
HALF, ENOUGH = "{path: data/people.csv, holdout: 0.5}", "[{generator: table/noise, rows: 300}]"
BLOCKS = "{fidelity/shape: {at_least: 1.5}}"  # whatever the noise
KEEPS_UP = "{fidelity/shape: {not_worse_than: latest}}"
WORSE = "[{generator: table/noise, rows: 310, params: {skew: 4.0}}]"
REASON = "the partner needs it\n  on Monday"
ON_A_LINE = "the partner needs it on Monday"

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def workspace(tmp_path_factory):
    return make_workspace(tmp_path_factory.mktemp("quarantine") / "ws")


def recipe_of(workspace: Path, name: str, gates: str = BLOCKS, jobs: str = ENOUGH, **keys: str) -> Path:
    return write_recipe(workspace, name, source=HALF, jobs=jobs, gates=gates, **keys)


def blocked(workspace: Path, name: str, **keys: str) -> tuple[Path, dict]:
    """A recipe whose candidate waits, and the outcome of its run."""
    recipe = recipe_of(workspace, name, **keys)
    done = synthmill(workspace, "run", recipe, "--inline", "--release", "--json")
    assert done.code == 3, done.err
    return recipe, json.loads(done.out)


def released(workspace: Path, recipe: Path, *options: str) -> dict:
    return json.loads(good(workspace, "run", recipe, "--inline", "--release", "--json", *options).out)


def waiting(workspace: Path) -> dict[str, dict]:
    found = json.loads(good(workspace, "candidates", "--json").out)
    return {entry["dataset"]: entry for entry in found}


def command(workspace: Path, *arguments: str) -> str:
    program = [sys.executable, "-P", "-m", "dvc"] if arguments[0] == "dvc" else [arguments[0]]
    done = subprocess.run([*program, *arguments[1:]], cwd=workspace, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


# Quarantine


def test_a_blocked_candidate_is_listed_shown_and_approved_without_being_made_again(workspace):
    recipe, outcome = blocked(workspace, "held")
    plan = outcome["plan"]
    assert waiting(workspace)["held"]["plan"] == plan
    head, _, *rows = good(workspace, "candidates").out.splitlines()
    assert head.split() == ["dataset", "plan", "rows", "since", "gates"]
    [row] = [row.split() for row in rows if row.startswith("held")]
    assert (row[1], row[2], row[-2:]) == (plan[:12], "300", ["fidelity/shape", "missed"])

    shown = good(workspace, "candidates", plan[:6]).out
    assert "at least 1.5  missed" in shown
    assert re.search(r"\nage +score +city\n", shown)
    assert f"report   {outcome['path']}/report.html" in shown
    assert Path(f"{outcome['path']}/report.html").is_file()

    state = workspace / ".synthmill"
    kept = {name: tree(state / name) for name in ("models", "shards", "sources", f"candidates/{plan}/measured")}
    done = good(workspace, "approve", "held", REASON, "--json")
    assert json.loads(done.out)["version"] == "v1.0.0"
    assert {name: tree(state / name) for name in kept} == kept
    words = done.err.splitlines()
    assert (words[0], words[-1]) == (f"override: 1 blocked, because: {ON_A_LINE}", "release: done")
    assert not [line for line in words if line.startswith(("prepare", "fit", "generate", "score"))]

    assert "held" not in waiting(workspace)
    assert list(check(workspace / "datasets/held")) == []
    override = read_manifest(workspace / "datasets/held").override
    assert (override.reason, [gate.name for gate in override.gates]) == (ON_A_LINE, ["fidelity/shape"])
    assert ON_A_LINE in (workspace / "datasets/held/README.md").read_text()
    [run] = map(json.loads, (workspace / "runs/held.jsonl").read_text().splitlines())
    assert run["override"] == ON_A_LINE
    assert run["user"]
    assert git_status(workspace).count("held") == 0
    assert recipe.name == "held.yaml"


def test_what_changed_since_is_not_approved(workspace):
    recipe, _ = blocked(workspace, "changed")
    path, data = workspace / recipe, workspace / "data/people.csv"
    for file, words in ((path, "the recipe says something else"), (data, "the source has changed")):
        before = file.read_text()
        file.write_text(before.replace("300", "301") if file == path else before + "33,0.5,Oslo\n")
        refused = synthmill(workspace, "approve", "changed", REASON)
        assert (refused.code, words in refused.err) == (2, True), refused.err
        assert f"`synthmill run {recipe}` makes a new candidate" in refused.err
        file.write_text(before)
    path.write_text(f"# a comment changes nothing\n{path.read_text()}")
    good(workspace, "approve", "changed", REASON)


def test_a_candidate_of_an_override_that_was_not_saved_is_not_approved(workspace):
    recipe = recipe_of(workspace, "unsaved")
    assert synthmill(workspace, "run", recipe, "--inline", "--set", "jobs.0.rows=310").code == 3
    assert "the recipe says something else" in synthmill(workspace, "approve", "unsaved", REASON).err


def test_a_candidate_that_another_version_described_is_not_listed_and_hides_no_other(workspace):
    _, outcome = blocked(workspace, "foreign")
    origin = workspace / ".synthmill/candidates" / outcome["plan"] / "origin.json"
    assert "foreign" in waiting(workspace)
    origin.write_text(origin.read_text().replace('"format":1', '"format":2', 1))
    assert "foreign" not in waiting(workspace)


def test_approved_for_placing_alone(workspace):
    blocked(workspace, "put")
    assert "  dataset  " in good(workspace, "approve", "put", REASON, "--place").out
    assert read_manifest(workspace / "datasets/put").override.reason == ON_A_LINE
    assert command(workspace, "git", "tag", "--list", "put@*") == ""
    assert "put" not in waiting(workspace)


def test_dropped_is_gone_and_made_again_without_a_fit(workspace):
    recipe, outcome = blocked(workspace, "dropped")
    models = tree(workspace / ".synthmill/models")
    good(workspace, "drop", outcome["plan"])
    assert not Path(outcome["path"]).exists()
    assert "dropped" not in waiting(workspace)
    assert synthmill(workspace, "run", recipe, "--inline").code == 3
    assert tree(workspace / ".synthmill/models") == models
    assert waiting(workspace)["dropped"]["plan"] == outcome["plan"]


def test_a_name_that_means_none_or_several_is_refused(workspace):
    for rows in (300, 301):
        blocked(workspace, "several", jobs=f"[{{generator: table/noise, rows: {rows}}}]")
    assert "2 candidates are meant by 'several'" in synthmill(workspace, "approve", "several", REASON).err
    assert "no candidate waits under 'nobody'" in synthmill(workspace, "drop", "nobody").err
    assert synthmill(workspace, "approve", "several", "  ").code == 2


def test_damaged_candidate_is_not_approved(workspace):
    _, outcome = blocked(workspace, "broken")
    next(Path(outcome["path"]).glob("data/*.parquet")).write_bytes(b"PAR1")
    assert "the candidate is damaged" in synthmill(workspace, "approve", "broken", REASON).err


# Overrides and warnings


def test_an_override_is_recorded_with_its_release(workspace):
    recipe, outcome = blocked(workspace, "urgent")
    measured = tree(workspace / ".synthmill/candidates" / outcome["plan"] / "measured")
    done = good(workspace, "run", recipe, "--inline", "--release", "--override", REASON)
    assert tree(workspace / ".synthmill/candidates" / outcome["plan"] / "measured") == measured
    assert f"gates overridden: {ON_A_LINE}" in done.out
    assert read_manifest(workspace / "datasets/urgent").override.reason == ON_A_LINE
    card = (workspace / "datasets/urgent/README.md").read_text()
    assert "> **Released although 1 of its gates blocked it.**" in card
    assert "> - fidelity/shape missed (value 0." in card
    assert synthmill(workspace, "run", recipe, "--inline", "--release").code == 3  # an override holds for one run


def test_an_override_of_nothing_is_not_recorded_and_an_empty_one_refused(workspace):
    recipe = recipe_of(workspace, "fine", gates="{fidelity/shape: {at_least: 0.1}}")
    done = good(workspace, "run", recipe, "--inline", "--release", "--override", REASON)
    assert "override: no gate blocks" in done.err
    assert "override" not in json.loads((workspace / "datasets/fine/manifest.json").read_text())
    assert "override" not in (workspace / "runs/fine.jsonl").read_text()
    for options in (("--release", "--override", " "), ("--override", REASON)):
        assert synthmill(workspace, "run", recipe, "--inline", *options).code == 2


def test_a_gate_that_warns_does_not_block(workspace):
    recipe = recipe_of(workspace, "warned", gates="{fidelity/shape: {at_least: 1.5, action: warn}}")
    done = good(workspace, "run", recipe, "--inline", "--release")
    assert "warning: fidelity/shape missed: value 0." in done.out
    assert "Gates that warn: fidelity/shape missed" in (workspace / "datasets/warned/README.md").read_text()


# Earlier releases


def test_a_release_is_not_worse_than_the_last_and_stays_so_when_it_is_run_again(workspace):
    recipe = recipe_of(workspace, "steady", gates=KEEPS_UP)
    first = released(workspace, recipe)
    [gate] = first["gates"]
    assert (gate["reason"], gate["against"]) == ("there is no earlier release to compare with", None)

    recipe_of(workspace, "steady", gates=KEEPS_UP, seed="1")
    second = released(workspace, recipe)
    [gate] = second["gates"]
    assert (gate["status"], gate["against"], second["previous"]) == ("passed", "v1.0.0", "v1.0.0")

    again = released(workspace, recipe)
    assert (again["version"], again["is_new"], again["gates"]) == ("v1.0.1", False, second["gates"])

    recipe_of(workspace, "steady", gates=KEEPS_UP, jobs=WORSE)
    done = synthmill(workspace, "run", recipe, "--inline", "--release", "--json")
    [gate] = json.loads(done.out)["gates"]
    assert (done.code, gate["status"], gate["against"]) == (3, "missed", "v1.0.1")


def test_verdicts_are_judged_again_when_another_release_came_in_between(workspace):
    """Passed with nothing to compare; then a better one is released; approved later, it is compared with that."""
    worse = recipe_of(workspace, "overtaken", gates=KEEPS_UP, jobs=WORSE)
    good(workspace, "run", worse, "--inline")
    bad = (workspace / worse).read_text()
    recipe_of(workspace, "overtaken", gates=KEEPS_UP)
    assert released(workspace, worse)["version"] == "v1.0.0"
    (workspace / worse).write_text(bad)
    done = good(workspace, "approve", "overtaken", REASON, "--json")
    outcome = json.loads(done.out)
    [gate] = outcome["gates"]
    assert (gate["status"], gate["against"], outcome["override"]) == ("missed", "v1.0.0", ON_A_LINE)
    assert list(check(workspace / "datasets/overtaken")) == []


def test_a_version_that_does_not_exist_is_found_before_anything_is_made(workspace):
    recipe = recipe_of(workspace, "unknown", gates="{fidelity/shape: {not_worse_than: v3.0.0}}")
    done = synthmill(workspace, "run", recipe, "--inline")
    assert done.code == 2
    assert "recipes/unknown.yaml:4: gates.fidelity/shape: unknown has no release v3.0.0" in done.err


def test_a_release_without_intervals_leaves_the_gate_undetermined(workspace):
    metrics = workspace / "metrics" / "old.json"
    metrics.parent.mkdir(exist_ok=True)
    metrics.write_text(json.dumps({"rows": 5, "scores": {"fidelity/shape": {"value": 0.9, "normalised": None}}}))
    command(workspace, "git", "add", "metrics/old.json")
    person = ("-c", "user.name=P", "-c", "user.email=p@example.org")
    command(workspace, "git", *person, "commit", "-qm", "by an older Synthmill", "--", "metrics/old.json")
    command(workspace, "git", *person, "tag", "-a", "old@v1.0.0", "-m", "old")
    _, outcome = blocked(workspace, "old", gates=KEEPS_UP)
    [gate] = outcome["gates"]
    assert (gate["status"], gate["reason"]) == (
        "undetermined",
        "the score in v1.0.0 has no value with an interval",
    )


# What the guide shows


def test_the_gates_of_the_guide_are_gates(workspace):
    [block] = re.findall(r"```yaml\n(.*?)```", GUIDE.read_text(), re.DOTALL)
    target = "{path: data/people.csv, holdout: 0.5, target: score}"
    recipe = write_recipe(workspace, "guide", source=target, jobs=ENOUGH, rest=block)
    found = json.loads(good(workspace, "run", recipe, "--dry-run", "--json").out)["plan"]["recipe"]["gates"]
    assert [len(gates) if isinstance(gates, list) else 1 for gates in found.values()] == [1, 1, 1, 3]


def test_the_commands_of_the_guide_work(workspace):
    recipe = recipe_of(workspace, "fair", gates="{fidelity/shape: {at_least: 0.1}}")
    released(workspace, recipe)
    recipe_of(workspace, "fair", gates="{fidelity/shape: {at_least: 1.5}}", seed="1")
    assert synthmill(workspace, "run", recipe, "--inline").code == 3
    for block in re.findall(r"```bash\n(.*?)```", GUIDE.read_text(), re.DOTALL):
        for line in block.splitlines():
            name, *arguments = shlex.split(line, comments=True)
            if name == "synthmill":
                good(workspace, *arguments)
            else:
                command(workspace, name, *arguments)
    assert read_manifest(workspace / "datasets/fair").override is not None
    assert (workspace / "plots/index.html").is_file()


# What DVC compares


def test_dvc_shows_what_changed_between_two_releases(workspace, tmp_path):
    recipe = recipe_of(workspace, "compared", gates="{fidelity/shape: {at_least: 0.1}}")
    released(workspace, recipe)
    recipe_of(workspace, "compared", gates="{fidelity/shape: {at_least: 0.1}}", jobs=WORSE)
    released(workspace, recipe)
    assert command(workspace, "dvc", "status", "compared") == "Data and pipelines are up to date."

    tags = ("compared@v1.0.0", "compared@v1.1.0")
    diff = json.loads(command(workspace, "dvc", "metrics", "diff", *tags, "--json"))["metrics/compared.json"]
    assert diff["rows"] == {"old": 300, "new": 310, "diff": 10}
    assert diff["scores.fidelity/shape.value"]["diff"] < -0.1

    plots = ("dvc", "plots", "diff", *tags, "--targets", "metrics/compared-scores.csv", "metrics/compared-columns.csv")
    shown = json.loads(command(workspace, *plots, "--json"))["data"]
    [scores] = shown["metrics/compared-scores.csv"]
    values = {(row["rev"], row["score"]): float(row["value"]) for row in scores["content"]["data"]["values"]}
    assert values.keys() == {(tag, "fidelity/shape") for tag in tags}
    [columns] = shown["metrics/compared-columns.csv"]
    shapes = {(row["rev"], row["column"]): float(row["shape"]) for row in columns["content"]["data"]["values"]}
    assert shapes[tags[0], "age"] - shapes[tags[1], "age"] > 0.1
    command(workspace, *plots, "--out", str(tmp_path / "plots"))
    assert "vega-lite" in (tmp_path / "plots" / "index.html").read_text()
