"""Bad input and a world that lets us down, as a user meets them: the message, the exit code, and nothing left half-made."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from huggingface_hub import DatasetCard
from PIL import Image
from support import full_disk
from support.commands import git_status, good, make_workspace, synthmill, tree, write_recipe

SECRET = "hunter2"  # a cell: it lies in broken files beside what breaks them, and must never be printed
PEOPLE = "[{generator: table/noise, rows: 50, %s}]"


@pytest.fixture(scope="module")
def workspace(tmp_path_factory):
    root = make_workspace(tmp_path_factory.mktemp("bad") / "ws")
    write_broken_data(root / "data")
    return root


def write_broken_data(data: Path) -> None:
    line = f"31,{SECRET}\n"
    texts = {
        "empty.csv": "",
        "header.csv": "age,city\n",
        "ragged.csv": "age,city\n" + 4 * line + f"32,{SECRET},more\n",
        "quote.csv": "age,city\n" + line + f'33,"{SECRET}\n' + line,
        "twice.csv": "age,age\n1,2\n",
        "reserved.csv": f"_row_id,city\n{line}",
        "one.csv": "age,city\n" + line,
        "broken.jsonl": f'{{"city": "{SECRET}"}}\n{{"city": \n',
    }
    for name, text in texts.items():
        (data / name).write_text(text)
    (data / "latin.csv").write_bytes(b"age,city\n31,M\xfcnchen\n")
    pq.write_table(pa.table({"city": [SECRET] * 99}), data / "broken.parquet")
    cut(data / "broken.parquet")
    for label in ("cat", "dog"):
        (data / "pets" / label).mkdir(parents=True)
        for number in range(3):
            Image.effect_noise((16, 16), 40).save(data / "pets" / label / f"{number}.png")
    cut(data / "pets" / "dog" / "1.png")
    (data.parent.parent / "outside.csv").write_text(texts["one.csv"])
    (data / "link.csv").symlink_to(data.parent.parent / "outside.csv")


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


@dataclass(frozen=True)
class Mistake:
    """A recipe, and all that is said of it. `keys` replace those of the usual recipe: dataset, source, jobs, rest, a line each."""

    name: str
    keys: dict[str, str | None]
    message: str


def source(path: str, rest: str = "") -> dict[str, str]:
    return {"source": f"{{path: {path}{rest}}}"}


MISTAKES = [
    # the recipe's keys and values
    Mistake("unknown key", {"rest": "jbos: 3"}, "recipes/bad.yaml:4: unknown key jbos\n  did you mean jobs?"),
    Mistake(
        "unknown key inside",
        {"jobs": "[{generator: table/noise, rowz: 50}]"},
        "recipes/bad.yaml:3: unknown key jobs.0.rowz\n  did you mean rows?",
    ),
    Mistake("missing key", {"dataset": None}, "recipes/bad.yaml:1: dataset is missing"),
    Mistake(
        "wrong type",
        {"jobs": "[{generator: table/noise, rows: many}]"},
        "recipes/bad.yaml:3: jobs.0.rows: must be a whole number; it is 'many'",
    ),
    Mistake(
        "zero rows",
        {"jobs": "[{generator: table/noise, rows: 0}]"},
        "recipes/bad.yaml:3: jobs.0.rows: must be at least 1; it is 0",
    ),
    Mistake(
        "hostile dataset name",
        {"dataset": "../../etc"},
        "recipes/bad.yaml:1: dataset: must be small letters, digits and dashes, a letter first and no dash last; "
        "it is '../../etc'",
    ),
    Mistake(
        "no YAML",
        {"rest": "gates: {"},
        "recipes/bad.yaml:5: not valid YAML: expected the node content, but found '<stream end>'",
    ),
    Mistake(
        "unknown generator",
        {"jobs": "[{generator: table/nose, rows: 5}]"},
        "recipes/bad.yaml:3: jobs.0: there is no generator table/nose\n  did you mean table/noise?",
    ),
    Mistake(
        "unknown param",
        {"jobs": PEOPLE % "params: {fit_stepps: 3}"},
        "recipes/bad.yaml:3: jobs.0.params: unknown key fit_stepps\n  did you mean fit_steps?",
    ),
    Mistake(
        "unknown evaluator",
        {"rest": "gates: {fidelity/c3st: {at_least: 1}}"},
        "recipes/bad.yaml:4: gates.fidelity/c3st: there is no evaluator fidelity/c3st\n  did you mean fidelity/c2st?",
    ),
    Mistake(
        "two bounds",
        {"rest": "gates: {fidelity/c2st: {at_least: 1, at_most: 1}}"},
        "recipes/bad.yaml:4: gates.fidelity/c2st: give exactly one of at_least, at_most, not_worse_than",
    ),
    Mistake(
        "score without target",
        {"rest": "scores: [utility/tstr]"},
        "recipes/bad.yaml:4: scores.0: utility/tstr needs a target\n  name the column to predict under source.target",
    ),
    # the recipe against its data
    Mistake(
        "target missing",
        source("data/people.csv", ", target: agee"),
        "recipes/bad.yaml:2: source.target: the source has no column agee\n  did you mean age?",
    ),
    Mistake(
        "condition on an unknown value",
        {"jobs": PEOPLE % "where: {city: {is: Bergen}}"},
        "recipes/bad.yaml:3: jobs.0.where.city: no train row has city is Bergen\n"
        "  check the spelling; conditions can only name values that the source holds",
    ),
    Mistake(
        "condition on an unknown column",
        {"jobs": PEOPLE % "where: {town: {is: Oslo}}"},
        "recipes/bad.yaml:3: jobs.0.where.town: the source has no column town\n  columns: age, score, city",
    ),
    Mistake(
        "condition of the wrong type",
        {"jobs": PEOPLE % "where: {age: {is: old}}"},
        "recipes/bad.yaml:3: jobs.0.where.age: column age holds int64, and old cannot be read as that\n"
        "  give a value of the column's type, or override its kind under source.columns",
    ),
    Mistake(
        "impossible rule",
        {"rest": "rules: ['age < 0']"},
        "recipes/bad.yaml:4: rules.0: no train row meets the rule 'age < 0'\n  mend the rule, or drop it",
    ),
    Mistake(
        "rule on an unknown column",
        {"rest": "rules: ['agee > 1']"},
        "recipes/bad.yaml:4: rules.0: the rule 'agee > 1' names agee, which is no column of the source\n"
        "  columns: age, score, city",
    ),
    Mistake(
        "rule that reads files",
        {"rest": "rules: [\"age > (select count(*) from read_text('/etc/passwd'))\"]"},
        "recipes/bad.yaml:4: rules.0: the rule \"age > (select count(*) from read_text('/etc/passwd'))\" is more than an "
        "expression over one row\n  write one boolean expression over the columns, such as age >= 17",
    ),
    # the data
    Mistake(
        "missing file", source("data/peple.csv"), "data/peple.csv: there is no such file\n  did you mean people.csv?"
    ),
    Mistake("empty csv", source("data/empty.csv"), "data/empty.csv: the file is empty\n  was it written to the end?"),
    Mistake(
        "csv without rows",
        source("data/header.csv"),
        "data/header.csv: there are columns and no rows\n  a source needs rows to learn from",
    ),
    Mistake(
        "ragged lines",
        source("data/ragged.csv"),
        "data/ragged.csv:6: a row has 3 fields and the header 2\n  is a separator inside a value not quoted?",
    ),
    Mistake(
        "open quote",
        source("data/quote.csv"),
        "data/quote.csv:3: a quoted field does not end\n  close its quote, or double it",
    ),
    Mistake(
        "not UTF-8",
        source("data/latin.csv"),
        "data/latin.csv:2: the file is not UTF-8\n  convert it, for instance: iconv -f WINDOWS-1252 -t UTF-8",
    ),
    Mistake(
        "broken JSON lines",
        source("data/broken.jsonl"),
        "data/broken.jsonl:2: the line is no JSON\n  each line must hold one object, and a key the same type in each",
    ),
    Mistake(
        "broken parquet",
        source("data/broken.parquet"),
        "data/broken.parquet: the parquet file is truncated or broken\n  write or fetch it again",
    ),
    Mistake(
        "truncated image",
        source("data/pets") | {"jobs": "[{generator: image/vae, rows: 5}]"},
        "data/pets/dog/1.png: the image is truncated or broken\n  replace or remove it",
    ),
    Mistake(
        "column named twice",
        source("data/twice.csv"),
        "data/twice.csv: two columns are named age\n  the first line must name the columns, each once",
    ),
    Mistake(
        "column named _row_id",
        source("data/reserved.csv"),
        "data/reserved.csv: the column name _row_id is reserved for the provenance of released rows\n"
        "  rename or drop that column",
    ),
    Mistake(
        "one row",
        source("data/one.csv"),
        "recipes/bad.yaml:2: source.holdout: the split leaves holdout half A empty: 1 rows for train and 0 for the holdout\n"
        "  give more rows, or another source.holdout",
    ),
    Mistake(
        "symlink that leads outside",
        source("data/link.csv"),
        "data/link.csv: the path leads outside the workspace\n"
        "  copy the data into the workspace, or allow its folder in synthmill.toml",
    ),
    Mistake(
        "unsupported scheme",
        source("s3://bucket/people.csv"),
        "s3://bucket/people.csv: s3: sources are not supported\n"
        "  supported are paths in the workspace, sklearn:NAME and statsmodels:NAME",
    ),
]


@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda mistake: mistake.name)
def test_mistake_is_told_before_anything_starts(workspace, mistake):
    keys = {"dataset": "people", **mistake.keys}
    recipe = write_recipe(workspace, "bad", **keys)
    before, status = tree(workspace), git_status(workspace)
    done = synthmill(workspace, "run", recipe, "--inline", "--release")
    assert done.err == f"bad input: {mistake.message}\n"
    assert (done.code, done.out) == (2, "")
    assert SECRET not in done.err
    assert (tree(workspace), git_status(workspace)) == (before, status)


def test_every_mistake_has_its_own_message():
    assert len({mistake.message for mistake in MISTAKES}) == len(MISTAKES)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", "recipes/nope.yaml"], "recipes/nope.yaml: there is no such recipe\n  recipes live in recipes/*.yaml"),
        (
            ["run", "recipes"],
            "recipes: cannot read the recipe: Is a directory\n  name one file, such as recipes/fair.yaml",
        ),
        (
            ["run", "recipes/people.yaml", "--set", "source.path=data/peple.csv"],
            "data/peple.csv: there is no such file\n  did you mean people.csv?",
        ),
        (
            ["run", "recipes/people.yaml", "--release", "--set", "jobs.0.rows=9"],
            "recipes/people.yaml: a release is what its recipe says, and --set changes it\n"
            "  --save writes the overrides into the recipe",
        ),
        (
            ["run", "recipes/people.yaml", "--set", "jobs.4.rows=9"],
            "--set jobs.4.rows=9: there is no entry 4; the list has 1, counted from 0",
        ),
        (
            ["run", "recipes/people.yaml", "--set", "jobs.0.rows"],
            "--set jobs.0.rows: an override is KEY=VALUE\n  for example --set jobs.0.rows=500",
        ),
        (
            ["verify", "datasets/people"],
            "datasets/people: no dataset here: there is no manifest.json\n"
            "  `synthmill run RECIPE --place` makes one, `dvc pull` fetches one",
        ),
    ],
)
def test_wrong_usage_is_told_without_bringing_up_a_server(workspace, arguments, message):
    write_recipe(workspace)
    before = tree(workspace)
    done = synthmill(workspace, *arguments)
    assert (done.code, done.out, done.err) == (2, "", f"bad input: {message}\n")
    assert tree(workspace) == before


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["run", "recipes/people.yaml", "--workers", "0"], "'--workers'"),
        (["run", "recipes/people.yaml", "--workers", "two"], "'--workers'"),
        (["run"], "Missing argument"),
        (["rnu"], "No such command 'rnu'"),
        (["run", "recipes/people.yaml", "--relaese"], "No such option: --relaese"),
    ],
)
def test_wrong_options_are_named(workspace, arguments, words):
    done = synthmill(workspace, *arguments)
    assert (done.code, done.out) == (2, "")
    assert words in done.err


def test_recipe_outside_the_workspace_can_be_run_but_not_released(workspace, tmp_path):
    outside = tmp_path / "people.yaml"
    shutil.copy(workspace / write_recipe(workspace), outside)
    done = synthmill(workspace, "run", outside, "--release")
    message = f"bad input: {outside}: the recipe lies outside the workspace, so it cannot be released"
    assert (done.code, done.err) == (2, f"{message}\n  copy it to {workspace / 'recipes'}\n")
    assert synthmill(workspace, "run", outside, "--dry-run").code == 0


def test_folder_that_is_no_workspace_is_told(tmp_path):
    done = synthmill(tmp_path, "run", "recipes/people.yaml")
    assert done.code == 2
    assert done.err.startswith(
        f"bad input: {tmp_path}: this is no Synthmill workspace\n  `synthmill init DIR` makes one"
    )
    assert tree(tmp_path) == {}


# Runs that start, and then fail


def assert_nothing_half_made(workspace: Path) -> None:
    """No unfinished file, no dataset in its place, no candidate without all that belongs to it."""
    assert list(workspace.rglob(".tmp-*")) == []
    assert [path.name for path in workspace.glob("datasets/*") if path.name != ".gitignore"] == []
    for candidate in workspace.glob(".synthmill/candidates/*"):
        assert (candidate / "dataset/manifest.json").is_file()


def test_rule_that_candidates_never_meet_stops_with_its_acceptance_rate(workspace):
    recipe = write_recipe(workspace, "rare", rules="['score = 1']", accept="{candidates_per_row: 3}")
    status = git_status(workspace)
    done = synthmill(workspace, "run", recipe, "--inline", "--place")
    assert (done.code, done.out) == (1, "")
    assert done.err.splitlines()[-2:] == [
        "error: jobs.0: stratum 0:all: 0 of 50 rows after 192 candidates (0.00% accepted; rejected: 192 rule 0)",
        "  loosen rules or conditions, or raise accept.candidates_per_row",
    ]
    assert git_status(workspace) == status
    assert_nothing_half_made(workspace)


def test_gate_on_a_score_without_enough_rows_blocks(workspace):
    small = "{path: data/people.csv, holdout: 0.1}"
    recipe = write_recipe(workspace, "few", source=small, gates="{fidelity/shape: {at_least: 0.1}}")
    status = git_status(workspace)
    done = synthmill(workspace, "run", recipe, "--inline", "--release")
    assert done.code == 3
    message, step = done.err.splitlines()[-2:]
    assert message.startswith("gate missed: gates: fidelity/shape undetermined: the score is undetermined: ")
    rows = "50 rows a side that meet conditions and rules, and it takes 200"
    assert message.endswith(f"{rows} (of a stratum with under 20 held-out rows none count)")
    candidate = Path(step.partition("which stays at ")[2])
    assert (candidate / "report.html").is_file()
    assert git_status(workspace) == status
    assert_nothing_half_made(workspace)


def test_local_changes_in_the_way_are_listed_and_kept(workspace):
    recipe = write_recipe(workspace, "edited")
    good(workspace, "run", recipe, "--inline", "--place")
    card = workspace / "datasets/edited/README.md"
    card.write_text("my own words\n")
    write_recipe(workspace, "edited", seed="9")
    before, status = tree(workspace / "datasets"), git_status(workspace)
    done = synthmill(workspace, "run", recipe, "--inline", "--release")
    assert done.code == 2
    assert done.err.splitlines()[-2:] == [
        f"bad input: {workspace}: local changes stand in the way: datasets/edited/README.md",
        "  Move them away, or delete them, and run again.",
    ]
    assert (tree(workspace / "datasets"), git_status(workspace)) == (before, status)
    card.unlink()
    assert json.loads(good(workspace, "run", recipe, "--inline", "--place", "--json").out)["path"] == str(card.parent)
    shutil.rmtree(card.parent)


@pytest.mark.parametrize("is_file_there", [False, True], ids=["moved away", "a file in its place"])
def test_release_without_its_remote_is_finished_by_the_next_run(workspace, is_file_there):
    name = f"remote-{int(is_file_there)}"
    recipe, remote, aside = write_recipe(workspace, name), workspace / "remote", workspace.parent / "remote"
    remote.rename(aside)
    if is_file_there:
        remote.touch()
    done = synthmill(workspace, "run", recipe, "--inline", "--release")
    remote.unlink(missing_ok=True)
    aside.rename(remote)
    assert done.code == 1
    message, step = done.err[done.err.index("error: ") :].splitlines()
    assert message == f"error: DVC remote storage ({remote}): it is not there (moved, or not mounted?)"
    again = f"Then run `synthmill release {name}` to go on: nothing is generated again."
    assert step == f"  Nothing was released. Bring it back. {again}"
    assert good(workspace, "releases", name).out == ""
    again = json.loads(good(workspace, "run", recipe, "--inline", "--release", "--json").out)
    assert (again["version"], again["is_new"]) == ("v1.0.0", True)
    shutil.rmtree(workspace / "datasets" / name)


def test_second_run_of_one_plan_is_turned_away_while_the_first_goes_on(workspace):
    recipe = write_recipe(workspace, "slow", seed="3")
    command = [sys.executable, "-m", "synthmill.cli", "run", str(recipe), "--inline", "--json"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "cwd": workspace}
    with subprocess.Popen(command, **pipes) as first:
        assert first.stderr is not None
        next(line for line in first.stderr if line.startswith("fit table/noise"))
        first.send_signal(signal.SIGSTOP)  # however slow the second is, the first is at work on the plan
        second = synthmill(workspace, "run", recipe, "--inline", "--json")
        first.send_signal(signal.SIGCONT)
        out, _ = first.communicate()
    plan = json.loads(out)["plan"]
    lock = workspace / ".synthmill" / "locks" / f"plan-{plan}.lock"
    assert (second.code, second.out) == (1, "")
    assert second.err.splitlines()[-2:] == [
        f"error: {lock}: another run works on this plan ({plan[:12]})",
        "  wait for it to end; it needs no help",
    ]
    assert (first.returncode, json.loads(out)["rows"]) == (0, 50)


@pytest.mark.skipif(not full_disk.is_possible(), reason="this system lets nobody mount a tmpfs (unshare -rm)")
def test_disk_that_is_full_at_any_stage_loses_nothing(workspace, tmp_path):
    recipe = write_recipe(workspace, "full")
    *stopped, last = full_disk.runs_with_little_space(workspace, recipe, tmp_path)
    assert [run.folder for run in stopped] == ["sources", "models", "shards", "candidates", "candidates", "datasets"]
    for run in stopped:
        assert run.code == 1
        assert run.message.endswith(": the disk is full\n  free some space and run again: what is finished is kept\n")
        assert run.leftovers == []
    assert (last.code, last.leftovers) == (0, [])


# Data that is odd, and fine


def test_odd_columns_go_the_whole_way(workspace):
    names = ['a"b', "x; DROP TABLE t", "../../etc", "<script>alert(1)</script>", "é😀", "a,b", "select", "nothing"]
    columns = {name: [number * i % 17 for i in range(300)] for number, name in enumerate(names[:-1], start=1)}
    pq.write_table(pa.table({**columns, "nothing": pa.nulls(300)}), workspace / "data/odd.parquet")
    rules = """['"select" >= 0', '"a""b" < 17']"""
    release = '{licence: "Mine: all [rights]", description: "a\\n---\\nb: c"}'
    recipe = write_recipe(workspace, "odd", source="{path: data/odd.parquet}", rules=rules, release=release)
    good(workspace, "run", recipe, "--inline", "--place")
    placed = workspace / "datasets/odd"
    table = pq.read_table(placed / "data")
    assert table.column_names[: len(names)] == names
    assert table["nothing"].null_count == table.num_rows == 50
    assert "<script>alert" not in (placed / "report.html").read_text()
    card = DatasetCard.load(placed / "README.md")
    assert (card.data.license, card.data.license_name) == ("other", "mine-all-rights")
    assert card.text.endswith("Mine: all [rights]\n")
    assert synthmill(workspace, "verify", placed).code == 0
    shutil.rmtree(placed)


@pytest.mark.parametrize("harm", ["cut", "flip", "missing", "stranger", "manifest"])
def test_verify_names_what_is_damaged(workspace, harm):
    good(workspace, "run", write_recipe(workspace, "checked"), "--inline", "--place")
    placed = workspace / "datasets/checked"
    [data] = placed.glob("data/*.parquet")
    content, size = data.read_bytes(), data.stat().st_size
    if harm == "cut":
        cut(data)
    elif harm == "flip":
        data.write_bytes(content[:100] + bytes([content[100] ^ 1]) + content[101:])
    elif harm == "missing":
        data.unlink()
    elif harm == "stranger":
        (placed / "data/mine.parquet").write_bytes(content)
    else:
        cut(placed / "manifest.json")
    done = synthmill(workspace, "verify", placed)
    words = {
        "cut": f"data/{data.name}: {size // 2:,} bytes, the manifest says {size:,}",
        "flip": f"data/{data.name}: its SHA-256 is not the manifest's",
        "missing": f"data/{data.name}: missing",
        "stranger": "data/mine.parquet: not in the manifest",
        "manifest": "manifest.json: the manifest is broken",
    }
    assert (done.code, done.out) == (1, "")
    assert words[harm] in done.err
    assert done.err.endswith("\n  `dvc checkout --force` or `dvc pull --force` brings released files back\n")
    shutil.rmtree(placed)
