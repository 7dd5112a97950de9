"""The `synthmill` command from end to end: what it prints for people and for machines, what it reuses, what every row meets."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from support.commands import git_status, good, make_workspace, synthmill, tree, write_recipe

KEYS = {"dataset", "plan", "version", "path", "rows", "scores", "gates", "seconds"}
# Enough rows on every side for fidelity/shape to be measured.
HALF, ENOUGH = "{path: data/people.csv, holdout: 0.5}", "[{generator: table/noise, rows: 300}]"

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def workspace(tmp_path_factory):
    return make_workspace(tmp_path_factory.mktemp("cli") / "ws")


def place(workspace: Path, recipe: Path) -> pa.Table:
    """The rows that a recipe leads to, read in file order from where they were placed."""
    return read(json.loads(good(workspace, "run", recipe, "--inline", "--place", "--json").out)["path"])


def read(path: str | Path) -> pa.Table:
    return pa.concat_tables([pq.read_table(file) for file in sorted(Path(path).glob("data/*.parquet"))])


def of_job(table: pa.Table, job: int) -> pa.Table:
    return table.filter(pc.starts_with(table["_stratum"], f"{job}:"))


def trees_of_work(workspace: Path) -> dict[str, dict[str, tuple[int, int] | None]]:
    """What costs time to make: every model and shard with its time of change."""
    return {name: tree(workspace / ".synthmill" / name) for name in ("models", "shards")}


# What is printed


def test_json_is_one_object_and_all_there_is_on_stdout(workspace):
    recipe = write_recipe(workspace, "json", source=HALF, jobs=ENOUGH, gates="{fidelity/shape: {at_least: 0.1}}")
    done = good(workspace, "run", recipe, "--inline", "--release", "--json")
    [line] = done.out.splitlines()
    outcome = json.loads(line)
    assert outcome.keys() >= KEYS
    assert (outcome["dataset"], outcome["version"], outcome["rows"]) == ("json", "v1.0.0", 300)
    assert outcome["path"] == str(workspace / "datasets/json")
    [score], [gate] = outcome["scores"], outcome["gates"]
    assert (score["name"], score["status"], gate["status"]) == ("fidelity/shape", "ok", "passed")
    assert 0.1 < score["value"] <= 1
    assert list(outcome["seconds"]) == ["prepare", "fit", "generate", "assemble", "score", "release"]
    assert done.err.splitlines()[0] == f"prepare: json, plan {outcome['plan'][:12]}"
    assert done.err.splitlines()[-1] == "release: done"
    [run] = map(json.loads, (workspace / "runs/json.jsonl").read_text().splitlines())
    assert run["seconds"].keys() >= {"prepare", "fit", "generate", "score"}


def test_people_get_a_table_of_scores_and_the_paths_of_what_was_made(workspace):
    recipe = write_recipe(workspace, "words", source=HALF, jobs=ENOUGH, gates="{fidelity/shape: {at_least: 0.1}}")
    lines = good(workspace, "run", recipe, "--inline", "--place").out.splitlines()
    head = ["score", "value", "95 % interval", "floor", "ceiling", "normalised", "gate", "verdict"]
    assert re.split(" {2,}", lines[1]) == head
    assert lines[3].startswith("fidelity/shape")
    assert lines[3].endswith("at least 0.1  passed")
    assert lines[5] == "words: 300 rows, bitwise"
    assert lines[6] == f"  dataset  {workspace}/datasets/words"
    assert lines[7] == f"  report   {workspace}/datasets/words/report.html"
    assert Path(lines[7].split()[1]).is_file()


def test_missed_gate_keeps_the_candidate_and_says_why(workspace):
    recipe = write_recipe(workspace, "missed", source=HALF, jobs=ENOUGH, gates="{fidelity/shape: {at_least: 1.5}}")
    status = git_status(workspace)
    done = synthmill(workspace, "run", recipe, "--inline", "--release", "--json")
    assert done.code == 3
    outcome = json.loads(done.out)
    [gate] = outcome["gates"]
    assert (gate["status"], outcome["version"]) == ("missed", None)
    assert gate["reason"].startswith("value 0.")
    assert read(outcome["path"]).num_rows == 300
    assert done.err.splitlines()[-2:] == [
        f"gate missed: gates: fidelity/shape missed: {gate['reason']}",
        f"  nothing was placed; `synthmill candidates {outcome['plan'][:12]}` shows the candidate, "
        f"which stays at {outcome['path']}",
    ]
    assert not (workspace / "datasets/missed").exists()
    assert git_status(workspace) == status


def test_more_rows_change_no_file_of_the_rows_that_were_there(workspace):
    files = {}
    for rows in (250, 400):
        recipe = write_recipe(
            workspace, "grows", jobs=f"[{{generator: table/noise, rows: {rows}}}]", release="{rows_per_file: 100}"
        )
        data = Path(json.loads(good(workspace, "run", recipe, "--inline", "--json").out)["path"]) / "data"
        files[rows] = [path.read_bytes() for path in sorted(data.glob("*.parquet"))]
    assert (len(files[250]), len(files[400])) == (3, 4)
    assert files[250][:2] == files[400][:2]


# A dry run


def test_dry_run_writes_nothing_and_says_what_would_be_reused(workspace):
    recipe = write_recipe(workspace, "dry", seed="11")

    def dry_run() -> tuple[str, dict[str, object]]:
        before, status = tree(workspace), git_status(workspace)
        text = good(workspace, "run", recipe, "--dry-run").out
        as_json = good(workspace, "run", recipe, "--dry-run", "--json")
        assert (tree(workspace), git_status(workspace)) == (before, status)
        assert as_json.err == ""
        return text, json.loads(as_json.out)

    text, plan = dry_run()
    assert plan["reuse"] == ["model of table/noise: to fit", "jobs.0: 0 of 50 rows staged"]
    assert "\nseed: 11\n" in text
    assert f"\nplan {plan['plan']['fingerprint']}\n" in text
    assert "\n  model of table/noise: to fit\n" in text
    assert plan["estimate"]["disk_bytes"] > 0

    good(workspace, "run", recipe, "--inline")
    assert dry_run()[1]["reuse"] == ["the complete candidate"]
    write_recipe(workspace, "dry", seed="11", jobs="[{generator: table/noise, rows: 500}]")
    after = dry_run()[1]
    assert after["reuse"] == ["model of table/noise: found", "jobs.0: 64 of 500 rows staged"]
    assert after["estimate"]["fit_s"] == 0
    assert after["estimate"]["generate_s"] > 0
    good(workspace, "run", recipe, "--inline", "--release")
    assert dry_run()[1]["reuse"] == ["released already as dry@v1.0.0"]


def test_dry_run_saves_no_override(workspace):
    path = workspace / write_recipe(workspace, "unsaved")
    before = tree(workspace)
    assert "rows: 7\n" in good(workspace, "run", path, "--dry-run", "--set", "jobs.0.rows=7", "--save").out
    assert tree(workspace) == before


# What a second run reuses


def test_more_rows_train_nothing_and_change_no_row(workspace):
    jobs = "[{{generator: table/noise, rows: {rows}, balance: city, params: {{fit_steps: 4}}}}]"
    recipe = write_recipe(workspace, "more", jobs=jobs.format(rows=200))
    few = place(workspace, recipe)
    before = trees_of_work(workspace)
    write_recipe(workspace, "more", jobs=jobs.format(rows=700))
    more = place(workspace, recipe)
    after = trees_of_work(workspace)
    assert (few.num_rows, more.num_rows) == (200, 700)
    assert more.slice(0, 200).equals(few)
    assert len(set(more["_row_id"].to_pylist())) == 700
    assert after["models"] == before["models"]
    assert {name: found for name, found in after["shards"].items() if name in before["shards"]} == before["shards"]
    assert len(after["shards"]) > len(before["shards"])


def test_a_change_of_gates_alone_measures_nothing_again(workspace):
    recipe = write_recipe(workspace, "gates", source=HALF, jobs=ENOUGH, gates="{fidelity/shape: {at_least: 0.1}}")
    first = json.loads(good(workspace, "run", recipe, "--inline", "--json").out)
    before = tree(workspace / ".synthmill/measurements")
    assert before
    write_recipe(workspace, "gates", source=HALF, jobs=ENOUGH, gates="{fidelity/shape: {at_least: 0.2}}")
    second = json.loads(good(workspace, "run", recipe, "--inline", "--json").out)
    assert tree(workspace / ".synthmill/measurements") == before
    assert second["scores"] == first["scores"]
    assert second["gates"][0]["bound"] == 0.2


def test_editing_a_job_changes_no_row_of_another(workspace):
    jobs = (
        "[{{generator: table/noise, rows: 150}}, {{generator: table/noise, rows: 90, where: {{city: {{is: {city}}}}}}}]"
    )
    recipe = write_recipe(workspace, "edit", jobs=jobs.format(city="Oslo"))
    first = place(workspace, recipe)
    write_recipe(workspace, "edit", jobs=jobs.format(city="Riga"))
    second = place(workspace, recipe)
    assert of_job(first, 0).equals(of_job(second, 0))
    assert set(of_job(first, 1)["_row_id"].to_pylist()).isdisjoint(of_job(second, 1)["_row_id"].to_pylist())
    assert set(of_job(second, 1)["city"].to_pylist()) == {"Riga"}


def test_same_plan_names_its_release_and_makes_no_new_version(workspace):
    recipe = write_recipe(workspace, "again")

    def release() -> tuple[str, bool]:
        outcome = json.loads(good(workspace, "run", recipe, "--inline", "--release", "--json").out)
        return outcome["version"], outcome["is_new"]

    assert release() == ("v1.0.0", True)
    assert release() == ("v1.0.0", False)
    assert "again v1.0.0 (released before): 50 rows" in good(workspace, "run", recipe, "--inline", "--release").out
    write_recipe(workspace, "again", jobs="[{generator: table/noise, rows: 51}]")
    assert release() == ("v1.0.1", True)
    assert [entry["tag"] for entry in json.loads(good(workspace, "releases", "again", "--json").out)] == [
        "again@v1.0.0",
        "again@v1.0.1",
    ]


# What every row meets


def test_conditions_rules_and_unique_hold_for_exactly_n_rows(workspace):
    jobs = """
- {generator: table/noise, rows: 120, where: {age: {between: [25, 30]}, city: {in: [Oslo, Riga]}}}
- {generator: table/noise, rows: 31, where: {city: {is: Pisa}}}
- {generator: table/noise, rows: 100, balance: city}"""
    recipe = write_recipe(
        workspace,
        "met",
        jobs=jobs,
        rules="['score < 0.9', 'age <> 28']",
        accept="{unique: true, candidates_per_row: 90}",
    )
    table = place(workspace, recipe)
    between, pisa, balanced = (of_job(table, job) for job in range(3))
    assert [between.num_rows, pisa.num_rows, balanced.num_rows] == [120, 31, 100]
    assert set(between["age"].to_pylist()) == {25, 26, 27, 29, 30}
    assert set(between["city"].to_pylist()) == {"Oslo", "Riga"}
    assert set(pisa["city"].to_pylist()) == {"Pisa"}
    assert balanced["city"].to_pylist() == [("Oslo", "Pisa", "Riga")[row % 3] for row in range(100)]
    assert pc.max(table["score"]).as_py() < 0.9
    assert 28 not in table["age"].to_pylist()
    for job in (between, pisa, balanced):
        assert len(set(zip(*job.select(["age", "score", "city"]).to_pydict().values(), strict=True))) == job.num_rows


def test_rows_equal_to_earlier_ones_or_to_train_are_rejected_where_asked(workspace):
    """Forty ages and three cities: 120 different rows, of which train holds about four in five."""
    people = (workspace / "data/people.csv").read_text().splitlines()
    rows = sorted({",".join(line.split(",")[::2]) for line in people[1:]})
    (workspace / "data/small.csv").write_text("\n".join(["age,city", *rows, ""]))
    source, jobs = "{path: data/small.csv}", "[{generator: table/noise, rows: 16}]"
    plain = place(
        workspace, write_recipe(workspace, "plain", source=source, jobs="[{generator: table/noise, rows: 90}]")
    )
    fresh = place(
        workspace,
        write_recipe(
            workspace,
            "fresh",
            source=source,
            jobs=jobs,
            accept="{unique: true, copies_of_train: reject, candidates_per_row: 200}",
        ),
    )
    cells = [f"{age},{city}" for age, city in zip(fresh["age"].to_pylist(), fresh["city"].to_pylist(), strict=True)]
    assert len(set(cells)) == fresh.num_rows == 16
    assert len({*zip(plain["age"].to_pylist(), plain["city"].to_pylist(), strict=True)}) < plain.num_rows
    [train] = [t for t in read_train(workspace) if t.column_names == ["age", "city"]]
    real = {f"{age},{city}" for age, city in zip(train["age"].to_pylist(), train["city"].to_pylist(), strict=True)}
    assert real.isdisjoint(cells)
    [job] = json.loads((workspace / "datasets/fresh/manifest.json").read_text())["jobs"]
    rejects = job["strata"][0]["rejects"]
    assert rejects["copy of a train row"] > 0
    assert rejects["duplicate"] > 0


def read_train(workspace: Path) -> list[pa.Table]:
    return [pq.read_table(path) for path in workspace.glob(".synthmill/sources/*/train.parquet")]


# --set and --save


def test_set_holds_for_one_run_and_save_writes_it_into_the_recipe(workspace):
    path = workspace / write_recipe(
        workspace, "saved", jobs="  # one will do\n  - generator: table/noise  # fast\n    rows: 50  # for now"
    )
    before = path.read_text()
    assert json.loads(good(workspace, "run", path, "--inline", "--json", "--set", "jobs.0.rows=20").out)["rows"] == 20
    assert path.read_text() == before
    run = ["run", path, "--inline", "--release", "--json", "--set", "jobs.0.rows=30", "--save"]
    outcome = json.loads(good(workspace, *run).out)
    assert (outcome["rows"], outcome["version"]) == (30, "v1.0.0")
    assert path.read_text() == before.replace("rows: 50  # for now", "rows: 30  # for now")
    assert git_status(workspace).count("recipes/saved.yaml") == 0


def test_refused_override_is_not_saved(workspace):
    path = workspace / write_recipe(workspace, "kept")
    before = path.read_text()
    assert synthmill(workspace, "run", path, "--inline", "--set", "jobs.0.rows=-1", "--save").code == 2
    assert path.read_text() == before


def test_override_that_makes_no_plan_is_not_saved(workspace):
    path = workspace / write_recipe(workspace, "kept")
    before = path.read_text()
    assert synthmill(workspace, "run", path, "--inline", "--set", "jobs.0.balance=nonsense", "--save").code == 2
    assert path.read_text() == before


def test_damaged_copy_of_the_source_in_state_is_made_again(workspace):
    recipe = write_recipe(workspace, "damaged")
    good(workspace, "run", recipe, "--inline")
    for path in (workspace / ".synthmill" / "sources").rglob("train.parquet"):
        path.write_bytes(path.read_bytes()[:100])
    good(workspace, "run", recipe, "--inline", "--set", "jobs.0.rows=60")


def test_state_in_another_folder_is_hidden_from_git(workspace):
    settings = workspace / "synthmill.toml"
    before = settings.read_text()
    settings.write_text('state = "elsewhere"\n')
    good(workspace, "run", write_recipe(workspace, "hidden"), "--inline")
    settings.write_text(before)
    assert (workspace / "elsewhere" / "models").is_dir()
    assert "elsewhere" not in git_status(workspace)


def test_release_of_untracked_data_says_that_a_clone_cannot_repeat_it(workspace):
    recipe = write_recipe(workspace, "untracked")
    assert "`dvc add data/people.csv`" in good(workspace, "run", recipe, "--inline", "--release").err


# The other commands


def test_releases_are_listed_by_dataset_and_version(workspace, tmp_path):
    blank = make_workspace(tmp_path / "blank")
    nothing = good(blank, "releases")
    assert (nothing.out, nothing.err) == ("", "no releases yet; `synthmill run RECIPE --release` makes one\n")
    recipe = write_recipe(workspace, "listed")
    good(workspace, "run", recipe, "--inline", "--release")
    head, _, row = good(workspace, "releases", "listed").out.splitlines()
    assert head.split()[:4] == ["release", "date", "rows", "size"]
    assert row.split()[0] == "listed@v1.0.0"
    assert row.split()[2] == "50"
    assert "listed@v1.0.0" in good(workspace, "releases").out


def test_schema_describes_recipes_for_editors(tmp_path):
    schema = json.loads(good(tmp_path, "schema").out)
    assert schema["required"] == ["dataset", "source", "jobs"]
    assert "is" in schema["$defs"]["Condition"]["properties"]


def test_list_says_what_each_generator_and_evaluator_can_do(tmp_path):
    found = json.loads(good(tmp_path, "list", "--json").out)
    entries = {entry["key"]: entry for entry in found["generators"] + found["evaluators"]}
    assert entries.keys() >= {"table/vae", "image/vae", "table/noise", "fidelity/shape"}
    assert entries["table/vae"]["can"] == "vae, fitted on train"
    assert "temperature" in entries["table/vae"]["params"]
    assert entries["utility/tstr"]["needs"] == "source.target"
    assert entries["privacy/copies"]["can"] == "table, lower is better, against train"
    assert entries["privacy/copies"]["parts"] == "privacy/copies/near (lower)"
    assert re.search(r"\n  table/vae +vae, fitted on train\n", good(tmp_path, "list").out)


def test_verify_counts_what_is_there(workspace):
    good(workspace, "run", write_recipe(workspace, "whole"), "--inline", "--place")
    assert good(workspace, "verify", "datasets/whole").out == "whole: 5 files and 50 rows are what the manifest says\n"
    found = json.loads(good(workspace, "verify", "datasets/whole", "--json").out)
    assert found == {"dataset": "whole", "rows": 50, "wrong": []}
