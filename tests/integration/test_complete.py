"""`synthmill sample --complete`: rows of a file in their order, their gaps filled, by the real command."""

from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.json
import pyarrow.parquet as pq
import pytest
from support.commands import git_status, good, make_workspace, synthmill, tree, write_recipe

JOB = "[{generator: table/trees, rows: 50, balance: city}]"
ROWS = 20_000

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def workspace(tmp_path_factory):
    """A workspace with a fitted model, and rows with gaps in three formats; more rows than go to the model at once."""
    root = make_workspace(tmp_path_factory.mktemp("complete") / "ws")
    recipe = write_recipe(root, jobs=JOB, rules="['score < 0.9 or score = 1']")
    good(root, "run", recipe, "--inline")
    rng = np.random.default_rng(0)
    ages = pa.array(rng.integers(20, 60, ROWS), mask=rng.random(ROWS) < 0.3)
    cities = pa.array(rng.choice(["Oslo", "Pisa", "Riga"], ROWS), mask=rng.random(ROWS) < 0.3)
    table = pa.table({"city": cities, "age": ages})
    pyarrow.csv.write_csv(table, root / "gaps.csv")
    pq.write_table(table, root / "gaps.parquet", row_group_size=3_000)
    (root / "gaps.jsonl").write_text("".join(json.dumps(row) + "\n" for row in table.to_pylist()))
    return root


def complete(workspace, *options, file="gaps.parquet"):
    return synthmill(workspace, "sample", "recipes/people.yaml", "--complete", file, *options)


@pytest.fixture(scope="module")
def full(workspace):
    """What the command made of all rows, and what it printed."""
    before, status = tree(workspace), git_status(workspace)
    done = complete(workspace, "-o", "full.parquet", "--json")
    assert done.code == 0, done.err
    table = pq.read_table(workspace / "full.parquet").replace_schema_metadata()
    (workspace / "full.parquet").unlink()
    assert (set(tree(workspace)), git_status(workspace)) == (set(before), status)
    return table, json.loads(done.out)


def test_rows_come_back_in_order_with_their_cells_and_no_gap(workspace, full):
    table, told = full
    gaps = pq.read_table(workspace / "gaps.parquet")
    assert table.column_names == ["age", "score", "city"]
    for name in gaps.column_names:
        given = gaps[name].is_valid()
        assert table[name].filter(given).equals(gaps[name].filter(given))
        assert table[name].null_count == 0
    scores = table["score"].to_numpy()
    assert ((scores < 0.9) | (scores == 1)).all()
    missing = gaps["age"].null_count + gaps["city"].null_count
    expected = {"rows": ROWS, "times": 1, "absent": ["score"], "unfilled": {}, "filled": missing + ROWS, "whole": 0}
    assert expected.items() <= told.items()


@pytest.mark.parametrize("suffix", ["csv", "jsonl"])
def test_the_format_of_the_file_changes_no_row(workspace, full, tmp_path, suffix):
    out = tmp_path / f"full.{suffix}"
    assert complete(workspace, "--out", out, file=f"gaps.{suffix}").code == 0
    found = pyarrow.csv.read_csv(out) if suffix == "csv" else pyarrow.json.read_json(out)
    assert found.equals(full[0])


def test_several_completions_stand_one_below_the_other(workspace, full, tmp_path):
    out = tmp_path / "two.parquet"
    told = json.loads(complete(workspace, "--out", out, "--times", "2", "--json").out)
    table = pq.read_table(out).replace_schema_metadata()
    assert table["_completion"].to_pylist() == [0] * ROWS + [1] * ROWS
    first, second = (table.slice(start, ROWS).drop(["_completion"]) for start in (0, ROWS))
    assert first.equals(full[0])
    assert not second.equals(first)
    assert told["filled"] == 2 * full[1]["filled"]


def test_another_seed_fills_in_other_values(workspace, full, tmp_path):
    out = tmp_path / "other.parquet"
    assert complete(workspace, "--out", out, "--seed", "3").code == 0
    assert not pq.read_table(out).replace_schema_metadata().equals(full[0])


def test_what_no_attempt_could_fill_stays_empty_is_counted_and_ends_in_an_error(workspace, tmp_path):
    out = tmp_path / "some.parquet"
    done = complete(workspace, "--out", out, "--where", "city=Riga", "--json")
    assert done.code == 1
    table, gaps = pq.read_table(out), pq.read_table(workspace / "gaps.parquet")
    others = sum(city in ("Oslo", "Pisa") for city in gaps["city"].to_pylist())
    assert json.loads(done.out)["unfilled"] == {"condition not met": others}
    assert table["score"].null_count == others
    assert {c for c, g in zip(table["city"].to_pylist(), gaps["city"].to_pylist(), strict=True) if g is None} == {
        "Riga"
    }
    assert f"{others:,} of {ROWS:,} rows keep empty cells" in done.err


def test_a_dry_run_says_what_is_to_do_and_writes_nothing(workspace, tmp_path):
    before = tree(workspace)
    done = complete(workspace, "--out", tmp_path / "full.csv", "--dry-run")
    assert (done.code, done.out) == (0, "")
    assert "gaps.parquet: 20,000 rows, 0 of them without an empty cell" in done.err
    assert "not in the file, filled in every row: score" in done.err
    assert "complete: would fill" in done.err
    assert tree(workspace) == before
    assert not (tmp_path / "full.csv").exists()


def test_rows_on_stdout_are_the_same(workspace):
    (workspace / "few.csv").write_text("age,city\n30,\n,Riga\n")
    printed = complete(workspace, "-o", "-", file="few.csv").out.splitlines()
    assert (printed[0], len(printed)) == ('"age","score","city"', 3)
    assert printed[1].startswith("30,")
    assert printed[2].endswith('"Riga"')


def test_a_label_that_train_never_had_stops_no_other_row(workspace, tmp_path):
    (workspace / "few.csv").write_text("age,city\n30,\n,Rome\n31,Rome\n")
    told, tables = {}, {}
    for choice in ("keep", "blank"):
        out = tmp_path / f"{choice}.parquet"
        done = complete(workspace, "-o", out, "--unknown", choice, "--json", file="few.csv")
        assert (done.code, "Rome" in done.err) == (0, False), done.err
        assert "city: a value that train never had in 2 rows that lack a cell" in done.err
        told[choice], tables[choice] = json.loads(done.out), pq.read_table(out).replace_schema_metadata()
        dry = complete(workspace, "-o", tmp_path / "x.csv", "--unknown", choice, "--dry-run", file="few.csv").err
        assert f"would fill {told[choice]['filled']} cells" in dry
    assert told["keep"]["unknown"] == told["blank"]["unknown"] == {"city": 2}
    assert (told["keep"]["filled"], told["blank"]["filled"]) == (2, 5)
    assert told["keep"]["unfilled"] == {"with a value that train never had": 2}
    assert tables["keep"].slice(1).to_pylist() == [
        {"age": None, "score": None, "city": "Rome"},
        {"age": 31, "score": None, "city": "Rome"},
    ]
    assert tables["keep"].slice(0, 1).equals(tables["blank"].slice(0, 1))
    assert tables["blank"]["city"].to_pylist()[1:] == ["Rome", "Rome"]
    assert sum(column.null_count for column in tables["blank"].columns) == 0


def test_what_becomes_of_unknown_labels_is_asked_of_completions_alone(workspace, tmp_path):
    rows = ["sample", "recipes/people.yaml", "--rows", "5", "-o", tmp_path / "x.csv", "--unknown", "keep"]
    done = synthmill(workspace, *rows)
    assert (done.code, "--unknown goes with --complete" in done.err) == (2, True)


@pytest.mark.parametrize(
    ("text", "options", "words"),
    [
        ("age,town\n30,Oslo\n", [], "few.csv: the source has no column town"),
        ("age,city\n30,Oslo\n,Rome\n", [], "1 of 2 rows, the first of them row 2, have a value that train never had"),
        ("age,city\n30,Oslo\n,Rome\n", [], "by column: city (1)\n  correct these cells or empty them; else --unknown"),
        ("age,city\nancient,Oslo\n", [], "few.csv: column age does not hold int64 as in the source in 1 of 1 rows"),
        ("age,city\n", [], "few.csv: there are columns and no rows"),
        ("age,city\n30,\n", ["--rows", "5"], "give either --rows or --complete"),
        ("age,city\n30,\n", ["--set", "seed=9"], "the model of jobs.0 is not fitted"),
        ("age,city\n30,\n", ["--set", "jobs.0.generator=table/noise"], "the generator cannot be given the column age"),
        ("age,city\n30,\n", ["--where", "city=Rome"], "no train row has city is Rome"),
    ],
)
def test_mistakes_are_named_before_any_work(workspace, tmp_path, text, options, words):
    (workspace / "few.csv").write_text(text)
    done = complete(workspace, "--out", tmp_path / "full.csv", *options, file="few.csv")
    assert (done.code, done.out) == (2, "")
    assert words in done.err
    assert "ancient" not in done.err
    assert "Rome" not in done.err.replace("city is Rome", "")
    assert not (tmp_path / "full.csv").exists()
