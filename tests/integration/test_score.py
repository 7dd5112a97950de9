"""`synthmill score`: any three tables, anywhere, of any size."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import tempfile

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
from support.commands import good, make_workspace, synthmill, tree, write_recipe
from support.tables import MIXED, mixed

from synthmill import registry
from synthmill.scoring.controls import sample_columns_alone
from synthmill.scoring.references import StratumShare

pytestmark = pytest.mark.slow

CHEAP = ["--scores", "fidelity/shape", "--scores", "privacy/copies"]
REAL = ["--train", "train.csv", "--holdout", "holdout.parquet"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Three tables in three formats; this is no workspace. The synthetic one holds train's columns, each shuffled on its own."""
    root = tmp_path_factory.mktemp("score")
    train = mixed(2000, seed=1)
    pyarrow.csv.write_csv(train, root / "train.csv")
    pq.write_table(mixed(1200, seed=2), root / "holdout.parquet")
    whole = [StratumShare(job=0, label="", where={}, rows=train.num_rows)]
    alone = sample_columns_alone(train, whole, [train.num_rows], rng=np.random.default_rng(3))
    pyarrow.csv.write_csv(alone, root / "alone.csv")
    return root


@pytest.fixture(autouse=True)
def own_temporary_folder(tmp_path, monkeypatch):
    """What a command leaves in the temporary folder is seen."""
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    yield
    assert list(temporary.iterdir()) == []


def score(folder, *arguments):
    """The scores by name."""
    found = json.loads(good(folder, "score", *arguments, "--json").out)
    return {one["name"]: one for one in found["scores"]}


def test_every_evaluator_that_fits_is_run_and_a_report_written(folder, tmp_path):
    options = ["--target", "income", "--protected", "city", "--out", tmp_path / "report"]
    found = score(folder, "alone.csv", *REAL, *options)
    kinds = {key: registry.evaluator(key) for key in registry.evaluator_keys()}
    fitting = {key for key, kind in kinds.items() if kind.modality == "table" and not kind.needs_rules}
    assert {"/".join(name.split("/")[:2]) for name in found} == fitting
    assert [one["reason"] for one in found.values() if one["status"] == "failed"] == []
    assert found["fidelity/c2st"]["normalised"] < 0.3  # it knows no dependence
    assert found["fidelity/shape"]["value"] > 0.9
    page = (tmp_path / "report/report.html").read_text()
    assert "alone.csv" in page
    assert str(folder) not in page
    machine = json.loads((tmp_path / "report/report.json").read_text())
    assert {one["name"] for one in machine["scores"]} == set(found)


def test_real_rows_in_its_place_come_out_at_the_ceiling(folder, tmp_path):
    pq.write_table(mixed(1500, seed=4), tmp_path / "real.parquet")
    found = score(folder, tmp_path / "real.parquet", *REAL, "--scores", "fidelity/c2st", "--out", tmp_path / "report")
    assert found["fidelity/c2st"]["normalised"] > 0.7


def test_only_what_fits_is_run_without_target_and_protected(folder, tmp_path):
    found = score(folder, "alone.csv", *REAL, *CHEAP, "--out", tmp_path / "report")
    assert {"/".join(name.split("/")[:2]) for name in found} == {"fidelity/shape", "privacy/copies"}


def test_people_get_a_table_and_the_types_of_the_columns(folder):
    done = good(folder, "score", "alone.csv", *REAL, *CHEAP, "--target", "income")
    head = ["score", "value", "95 % interval", "floor", "ceiling", "normalised", "gate", "verdict"]
    assert re.split(" {2,}", done.out.splitlines()[1]) == head
    assert "alone.csv: 2,000 rows against 1,200 held-out rows" in done.out
    assert "  report   scores/alone/report.html" in done.out
    assert (folder / "scores/alone/report.html").is_file()
    lines = [line.split() for line in done.err.splitlines()]
    assert [line[:3] + line[-1:] for line in lines if line[0] == "income"] == [["income", "number", "double", "target"]]


def test_the_format_of_the_synthetic_side_changes_no_score(folder, tmp_path):
    table = pyarrow.csv.read_csv(folder / "alone.csv").cast(MIXED.arrow)
    (tmp_path / "parts").mkdir()
    pq.write_table(table.slice(0, 700), tmp_path / "parts/0.parquet", row_group_size=50)
    pq.write_table(table.slice(700), tmp_path / "parts/1.parquet")
    ours = table.replace_schema_metadata({"synthmill": "synthetic"})
    pq.write_table(ours, tmp_path / "ours.parquet", row_group_size=300)
    out = ["--out", tmp_path / "report"]
    expected = score(folder, "alone.csv", *REAL, *CHEAP, *out)
    for name in ("parts", "ours.parquet"):
        assert score(folder, tmp_path / name, *REAL, *CHEAP, *out) == expected, name


def test_a_release_is_scored_where_it_lies(tmp_path):
    workspace = make_workspace(tmp_path / "ws")
    recipe = write_recipe(workspace, "placed", jobs="[{generator: table/noise, rows: 600, balance: city}]")
    good(workspace, "run", recipe, "--inline", "--place")
    real = ["--train", "data/people.csv", "--holdout", "data/people.csv"]
    before = tree(workspace)
    done = good(workspace, "score", "datasets/placed", *real, *CHEAP, "--out", tmp_path / "report")
    assert "placed: 600 rows against 1,200 held-out rows" in done.out
    assert "left out" not in done.err  # provenance is no column of its own
    assert tree(workspace) == before


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["alone.csv", *REAL, "--target", "incme"], "--target: the source has no column incme\n  did you mean income?"),
        (["alone.csv", *REAL, "--protected", "town"], "--protected town: train has no such column"),
        (["alone.csv", *REAL, "--scores", "fidelity/shap"], "there is no evaluator fidelity/shap\n  did you mean"),
        (["alone.csv", *REAL, "--scores", "utility/tstr"], "--scores utility/tstr: utility/tstr needs --target"),
        (["alone.csv", *REAL, "--scores", "fidelity/frechet"], "measures image data, and this is table data"),
        (["alone.csv", *REAL, "--set-kind", "age"], "--set-kind age: a kind is given as COLUMN=KIND"),
        (["alone.csv", *REAL, "--set-kind", "age=amount"], "--set-kind age=amount: a kind is given as COLUMN=KIND"),
        (
            ["alone.csv", *REAL, "--set-kind", "city=number"],
            "--set-kind city: 2,000 of 2,000 rows do not read as number",
        ),
        (
            ["alone.csv", *REAL, "--rules", "height > 1"],
            "--rules 0: the rule 'height > 1' names height, which is no column",
        ),
        (["gone.csv", *REAL], "gone.csv: there is no such file"),
        (["short.csv", *REAL], "short.csv: it has no column city (nor member, since)"),
        (["wrong.csv", *REAL], "wrong.csv: column age does not hold int64 as in the source in 2 of 3 rows"),
        (["alone.csv", "--train", "train.csv", "--holdout", "short.csv"], "short.csv: it has no column city"),
    ],
)
def test_mistakes_are_named_with_the_option_the_column_and_the_number_of_rows(folder, arguments, words):
    (folder / "short.csv").write_text("age,income\n30,1.5\n")
    (folder / "wrong.csv").write_text(
        "age,income,city,member,since\nold,1,Oslo,true,\nyoung,1,Oslo,true,\n30,1,Oslo,true,\n"
    )
    before = tree(folder)
    done = synthmill(folder, "score", *arguments)
    assert (done.code, done.out) == (2, "")
    assert words in done.err
    assert "young" not in done.err
    assert tree(folder) == before


def test_columns_that_train_does_not_have_are_left_out_and_named(folder, tmp_path):
    table = pyarrow.csv.read_csv(folder / "alone.csv")
    pyarrow.csv.write_csv(table.append_column("note", pa.array(["x"] * table.num_rows)), tmp_path / "more.csv")
    done = good(folder, "score", tmp_path / "more.csv", *REAL, *CHEAP, "--out", tmp_path / "report")
    assert f"note: columns of {tmp_path}/more.csv that train does not have are left out: note" in done.err


def command(*arguments):
    return [sys.executable, "-m", "synthmill.cli", "score", *map(str, arguments)]


def test_ctrl_c_leaves_nothing(folder, tmp_path):
    temporary = tmp_path / "temporary"
    environment = {**os.environ, "TMPDIR": str(temporary)}
    run = command("alone.csv", *REAL, "--target", "income", "--out", tmp_path / "report")
    with subprocess.Popen(run, cwd=folder, env=environment, stderr=subprocess.PIPE, text=True) as process:
        for line in process.stderr:
            if line.startswith("synthetic"):
                break
        assert list(temporary.iterdir()) != []
        process.send_signal(signal.SIGINT)
        process.stderr.read()
    assert process.returncode == 130
    assert not (tmp_path / "report").exists()


def peak_bytes(run, folder, said):
    """The largest resident size of the command and its children together, as samples show it; what it says goes into a file."""
    peak = 0
    with (
        said.open("w") as stderr,
        subprocess.Popen(run, cwd=folder, stdout=subprocess.DEVNULL, stderr=stderr) as process,
    ):
        own = psutil.Process(process.pid)
        while process.poll() is None:
            try:
                peak = max(peak, sum(one.memory_info().rss for one in [own, *own.children(recursive=True)]))
                process.wait(0.1)
            except (psutil.NoSuchProcess, subprocess.TimeoutExpired):
                continue
    assert process.returncode == 0, said.read_text()
    return peak


def test_two_million_rows_take_the_memory_of_twenty_thousand(folder, tmp_path):
    table = mixed(20_000, seed=5)
    sizes = {"small": 1, "large": 100}
    for name, times in sizes.items():
        with pyarrow.csv.CSVWriter(tmp_path / f"{name}.csv", table.schema) as writer:
            for _ in range(times):
                writer.write_table(table)
    peaks = {
        name: peak_bytes(
            command(tmp_path / f"{name}.csv", *REAL, *CHEAP, "--out", tmp_path / "report"), folder, tmp_path / "said"
        )
        for name in sizes
    }
    assert json.loads((tmp_path / "report/report.json").read_text())["rows"] == 2_000_000
    assert peaks["large"] < peaks["small"] + 300e6, peaks
