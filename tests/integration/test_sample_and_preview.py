"""`synthmill sample` and `synthmill preview`: rows of fitted models outside of a run."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.csv
import pyarrow.json
import pyarrow.parquet as pq
import pytest
from support.commands import CITIES, git_status, good, make_workspace, synthmill, tree, write_recipe

COLUMNS = ["age", "score", "city"]
JOBS = """
- {generator: table/noise, rows: 90, balance: city}
- {generator: table/noise, rows: 40, where: {age: {between: [25, 30]}}}"""
FILTERS = {"rules": "['score < 0.9']", "accept": "{unique: true, candidates_per_row: 90}"}

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def workspace(tmp_path_factory):
    return make_workspace(tmp_path_factory.mktemp("loose") / "ws")


@pytest.fixture(scope="module")
def fitted(workspace):
    """A recipe that was run, and the rows of its dataset by job."""
    recipe = write_recipe(workspace, "fitted", jobs=JOBS, **FILTERS)
    folder = Path(json.loads(good(workspace, "run", recipe, "--inline", "--json").out)["path"])
    files = sorted((folder / "data").glob("*.parquet"))
    return recipe, [pq.read_table(file).select(COLUMNS) for file in files]


@pytest.fixture(autouse=True)
def own_temporary_folder(tmp_path, monkeypatch):
    """What a command leaves in the temporary folder is seen."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    yield
    assert list(folder.iterdir()) == []


def read_parquet(path: Path) -> pa.Table:
    return pq.read_table(path).replace_schema_metadata()


# sample


@pytest.mark.parametrize("job", [0, 1])
def test_a_sample_begins_with_the_rows_of_the_dataset(workspace, fitted, tmp_path, job):
    recipe, tables = fitted
    rows = {"more": 200, "fewer": 20}
    for name, count in rows.items():
        good(
            workspace, "sample", recipe, "--job", str(job), "--rows", str(count), "--out", tmp_path / f"{name}.parquet"
        )
    more, fewer = (read_parquet(tmp_path / f"{name}.parquet") for name in rows)
    held = tables[job].replace_schema_metadata()
    assert (more.num_rows, fewer.num_rows) == (200, 20)
    assert more.slice(0, held.num_rows).equals(held)
    assert fewer.equals(held.slice(0, 20))


def test_another_seed_gives_other_rows_of_the_same_job(workspace, fitted, tmp_path):
    recipe, tables = fitted
    out = tmp_path / "rows.parquet"
    good(workspace, "sample", recipe, "--job", "1", "--rows", "40", "--out", out, "--seed", "4")
    table = read_parquet(out)
    good(workspace, "sample", recipe, "--job", "1", "--rows", "40", "--out", out, "--seed", "4", "--force")
    assert read_parquet(out).equals(table)
    assert set(table["score"].to_pylist()).isdisjoint(tables[1]["score"].to_pylist())
    assert all(25 <= age <= 30 for age in table["age"].to_pylist())
    assert max(table["score"].to_pylist()) < 0.9


def test_conditions_hold_in_every_row_and_end_a_balance(workspace, fitted, tmp_path):
    out = tmp_path / "rows.csv"
    good(workspace, "sample", fitted[0], "--rows", "5", "--out", out, "--where", "city=Riga", "--where", "age=33")
    table = pyarrow.csv.read_csv(out)
    assert table["city"].to_pylist() == ["Riga"] * 5
    assert table["age"].to_pylist() == [33] * 5


def test_every_format_and_stdout_hold_the_same_rows(workspace, fitted, tmp_path):
    recipe, tables = fitted
    for suffix in ("parquet", "csv", "jsonl"):
        assert good(workspace, "sample", recipe, "--rows", "90", "--out", tmp_path / f"rows.{suffix}").out == ""
    printed = good(workspace, "sample", recipe, "--rows", "90", "--out", "-").out
    found = {
        "parquet": read_parquet(tmp_path / "rows.parquet"),
        "csv": pyarrow.csv.read_csv(tmp_path / "rows.csv"),
        "jsonl": pyarrow.json.read_json(tmp_path / "rows.jsonl"),
        "stdout": pyarrow.csv.read_csv(io.BytesIO(printed.encode())),
    }
    for name, table in found.items():
        assert table.equals(tables[0].replace_schema_metadata()), name


def test_a_sample_changes_nothing_but_its_file(workspace, fitted, tmp_path):
    before, status = tree(workspace), git_status(workspace)
    good(workspace, "sample", fitted[0], "--rows", "9", "--out", tmp_path / "rows.csv")
    assert (tree(workspace), git_status(workspace)) == (before, status)
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["rows.csv"]


def test_a_model_that_was_never_fitted_is_asked_for(workspace, tmp_path):
    recipe = write_recipe(workspace, "unfitted", seed="5")
    out = tmp_path / "rows.csv"
    done = synthmill(workspace, "sample", recipe, "--rows", "3", "--out", out)
    assert (done.code, out.exists()) == (2, False)
    assert "the model of jobs.0 is not fitted" in done.err
    assert "`synthmill run recipes/unfitted.yaml` fits it" in done.err
    before = tree(workspace)
    good(workspace, "sample", recipe, "--rows", "3", "--out", out, "--fit")
    assert pyarrow.csv.read_csv(out).num_rows == 3
    assert tree(workspace) == before


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--out", "rows.xlsx"], "files that end with .xlsx cannot be written"),
        (["--out", "nowhere/rows.csv"], "nowhere: there is no such folder"),
        (["--out", "data/people.csv"], "data/people.csv: the file is there already"),
        (["--out", "rows.csv", "--job", "2"], "--job 2: there is no job 2\n  the recipe has 2, counted from 0"),
        (["--out", "rows.csv", "--where", "town=Oslo"], "--where town=Oslo: the source has no column town"),
        (["--out", "rows.csv", "--where", "city"], "--where city: a condition is COLUMN=VALUE"),
        (["--out", "rows.csv", "--where", "age=young"], "--where age=young: column age holds int64"),
        (["--out", "rows.csv", "--where", "city=Rome"], "no train row has city is Rome"),
    ],
)
def test_mistakes_are_named_before_any_work(workspace, fitted, arguments, words):
    before = tree(workspace)
    done = synthmill(workspace, "sample", fitted[0], "--rows", "3", *arguments)
    assert (done.code, done.out) == (2, "")
    assert words in done.err
    assert tree(workspace) == before


def test_too_few_accepted_rows_leave_no_file(workspace, tmp_path):
    recipe = write_recipe(workspace, "rare", rules="['score > 0.999']", accept="{candidates_per_row: 2}")
    done = synthmill(workspace, "sample", recipe, "--rows", "500", "--out", tmp_path / "rows.csv", "--fit")
    assert done.code == 1
    assert "of 500 rows after 1,024 candidates" in done.err
    assert not (tmp_path / "rows.csv").exists()


def test_ctrl_c_leaves_nothing(workspace, tmp_path):
    slow = "[{generator: table/noise, rows: 500, params: {seconds: 0.2}}]"
    recipe = write_recipe(workspace, "slow", jobs=slow)
    temporary = tmp_path / "temporary"
    command = [
        sys.executable,
        "-m",
        "synthmill.cli",
        "sample",
        recipe,
        "--rows",
        "9999",
        "--out",
        tmp_path / "r.csv",
        "--fit",
    ]
    environment = {**os.environ, "TMPDIR": str(temporary)}
    before = tree(workspace)
    with subprocess.Popen(command, cwd=workspace, env=environment, stderr=subprocess.PIPE, text=True) as process:
        for line in process.stderr:
            if line.startswith("generate"):
                break
        assert list(temporary.iterdir()) != []
        time.sleep(0.5)
        process.send_signal(signal.SIGINT)
        process.stderr.read()
    assert process.returncode == 130
    assert not (tmp_path / "r.csv").exists()
    assert tree(workspace) == before


# preview


def test_a_preview_shows_the_first_rows_of_each_stratum_and_writes_nothing(workspace, fitted):
    recipe, tables = fitted
    before, status = tree(workspace), git_status(workspace)
    lines = good(workspace, "preview", recipe, "--rows", "2").out.splitlines()
    assert (tree(workspace), git_status(workspace)) == (before, status)
    assert lines[0] == "jobs.0: table/noise, 90 rows, balanced by city"
    assert lines[1].split() == COLUMNS
    first = [line.split() for line in lines[3:9]]
    held = tables[0].to_pylist()
    assert [row[2] for row in first] == [city for city in CITIES for _ in range(2)]
    expected = [held[place + 3 * number] for place in range(3) for number in range(2)]
    assert [int(row[0]) for row in first] == [row["age"] for row in expected]
    start = lines.index("jobs.1: table/noise, 40 rows, age between 25 and 30")
    assert [int(line.split()[0]) for line in lines[start + 3 : start + 5]] == tables[1]["age"].to_pylist()[:2]


def test_a_preview_fits_what_no_run_has_and_forgets_it(workspace):
    recipe = write_recipe(workspace, "fresh", seed="77", rules="['score < 0.5']")
    before = tree(workspace)
    done = good(workspace, "preview", recipe, "--set", "jobs.0.params.fit_steps=7")
    assert tree(workspace) == before
    assert "model of table/noise: not fitted yet; fitting it for this preview alone" in done.err
    assert "fit table/noise: done, 7 steps" in done.err
    assert "candidates accepted; rejected:" in done.out
    assert "rule 'score < 0.5'" in done.out


def test_one_job_that_cannot_be_made_hides_no_other(workspace):
    jobs = "[{generator: table/noise, rows: 9, where: {age: {is: 20}}}, {generator: table/noise, rows: 9}]"
    rules = "['age > 20 or score = 1']"
    recipe = write_recipe(workspace, "mixed", jobs=jobs, rules=rules, accept="{candidates_per_row: 1}")
    done = synthmill(workspace, "preview", recipe)
    assert done.code == 1
    assert "  no preview: stratum 0:age=20: 0 of 5 rows" in done.out
    assert "jobs.1: table/noise, 9 rows" in done.out
    assert "0 of 5 rows after" in done.err


def test_a_wide_table_lies_on_its_side(workspace):
    names = [f"measurement_{number}" for number in range(30)]
    lines = [",".join(names), *(",".join(str(row * 1.5 + n) for n in range(30)) for row in range(300)), ""]
    (workspace / "data/wide.csv").write_text("\n".join(lines))
    recipe = write_recipe(workspace, "wide", source="{path: data/wide.csv}")
    lines = good(workspace, "preview", recipe, "--rows", "3").out.splitlines()
    assert lines[1].split() == ["row", "1", "2", "3"]
    assert [line.split()[0] for line in lines[3:33]] == names
    assert max(map(len, lines)) <= 120


def test_pictures_are_shown_by_size_where_there_are_no_colours(workspace):
    jobs = "[{generator: image/vae, rows: 20, balance: label, params: {steps: 3}}]"
    recipe = write_recipe(workspace, "digits-look", source="{path: sklearn:digits, target: label}", jobs=jobs)
    lines = good(workspace, "preview", recipe, "--rows", "1").out.splitlines()
    assert [line.split() for line in lines[3:9]] == [["8", "x", "8", str(label)] for label in range(6)]
    assert "  and 4 strata more" in lines
