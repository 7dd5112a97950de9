"""What git keeps of a dataset's scores, what state keeps of its measurement, and what a later release reads of it."""

import json
import subprocess

import pyarrow as pa
import pytest

from synthmill.columns import Column
from synthmill.evaluator import Score
from synthmill.figures import make_metrics, make_plots
from synthmill.plan import Plan
from synthmill.scoring import Scores
from synthmill.scoring.histograms import histograms
from synthmill.store.earlier import earlier_releases
from synthmill.store.git import Git
from synthmill.store.measured import read_measured, write_measured
from synthmill.store.stage import Stage, read_recipe_path, write_stage
from synthmill.store.versions import Identity, write_metrics

SHAPE = Score(
    name="fidelity/shape",
    value=0.9,
    direction="higher",
    ceiling=0.97,
    interval=(0.88, 0.92),
    ceiling_interval=(0.96, 0.98),
    rows=500,
)
LOST = Score(name="utility/tstr", value=None, direction="lower", status="undetermined", reason="12 rows a side")
COLUMNS = pa.table({"column": ["age", 'a "quoted", one'], "kind": ["number", "category"], "value": [0.8, 0.9]})
TREND = pa.table({"column": ["age", "city"], "value": [0.5, 0.25]})
AGES = pa.table({"age": [20.0, 30.0, 40.0, None]})
[HISTOGRAM] = histograms(AGES, AGES, [Column(name="age", kind="number", dtype="double", nullable=True)])
SAMPLES = pa.table({"age": [1, None], "picture": [{"bytes": b"\x89PNG", "path": None}, None]})
RECIPE = "dataset: tiny\nsource: {path: tiny.csv}\njobs: [{generator: table/vae, rows: 5}]\n"


def measured(**tables: pa.Table) -> Scores:
    named = {f"fidelity/{name}/columns": table for name, table in tables.items()}
    return Scores((SHAPE, LOST), ((SHAPE,), (LOST,)), named, (HISTOGRAM,), SAMPLES)


def test_what_was_measured_is_read_back_as_it_was(tmp_path):
    for scores in (measured(trend=TREND), measured(shape=COLUMNS, trend=TREND)):
        write_measured(tmp_path / "measured", scores)
        assert read_measured(tmp_path / "measured") == scores
    assert list(read_measured(tmp_path / "measured").tables) == ["fidelity/shape/columns", "fidelity/trend/columns"]
    assert [path.name for path in tmp_path.iterdir()] == ["measured"]


def test_metrics_hold_numbers_for_dvc_and_intervals_for_gates():
    metrics = make_metrics(500, (SHAPE, LOST))
    assert (metrics["format"], metrics["rows"]) == (3, 500)
    shape = metrics["scores"]["fidelity/shape"]
    assert (shape["value"], shape["ceiling"], shape["interval"], shape["direction"]) == (
        0.9,
        0.97,
        [0.88, 0.92],
        "higher",
    )
    assert metrics["scores"]["utility/tstr"]["status"] == "undetermined"
    assert "reason" not in shape


def test_plots_hold_a_line_a_score_and_a_line_a_column():
    plots = make_plots(measured(shape=COLUMNS, trend=TREND))
    assert plots["scores"].decode().splitlines() == [
        "score,value,normalised,low,high",
        "fidelity/shape,0.9,,0.88,0.92",
        "utility/tstr,,,,",
    ]
    assert plots["columns"].decode().splitlines() == [
        "column,shape,trend",
        "age,0.8,0.5",
        '"a ""quoted"", one",0.9,',
        "city,,0.25",
    ]
    assert make_plots(measured())["columns"] == b"column,shape,trend\n"


# What a later release reads


@pytest.fixture
def repository(tmp_path):
    subprocess.run(["git", "init", "--quiet", tmp_path], check=True)
    return Git(tmp_path)


def release(git: Git, version: str, plan: str, metrics: dict[str, object], recipe: str = RECIPE) -> None:
    """A commit as a release makes it, and its tag."""
    files = {
        "metrics/tiny.json": write_metrics(metrics, Identity("s", "c", plan)),
        "dvc.yaml": write_stage("", Stage("tiny", "recipes/other.yaml", ("tiny.csv",))).encode(),
        "recipes/other.yaml": recipe.encode(),
    }
    git.tag(f"tiny@{version}", git.commit(files, None, version))


def plan_of(fingerprint: str, gates: dict[str, object]) -> Plan:
    """As much of a plan as is asked for here."""
    recipe = {"dataset": "tiny", "source": {"path": "tiny.csv"}, "gates": gates}
    recipe["jobs"] = [{"generator": "table/vae", "rows": 5}]
    source = {"fingerprint": "", "train": "", "train_rows": 1, "a_rows": 1, "b_rows": 1, "schema": {"columns": []}}
    fields = {"fingerprint": fingerprint, "identity": "", "recipe": recipe, "source": source}
    return Plan.model_validate_json(json.dumps({**fields, "models": [], "jobs": [], "versions": {}}))


def test_the_latest_is_the_last_release_of_another_plan(repository):
    assert earlier_releases(repository, plan_of("p1", {})) == {"latest": None}
    for version, plan in (("v1.0.0", "p1"), ("v1.0.1", "p2"), ("v1.10.0", "p3")):
        release(repository, version, plan, make_metrics(5, (SHAPE, LOST)))
    assert earlier_releases(repository, plan_of("p3", {}))["latest"].version == "v1.0.1"
    latest = earlier_releases(repository, plan_of("p1", {}))["latest"]
    assert (latest.version, latest.rows, list(latest.scores)) == ("v1.10.0", 5, ["fidelity/shape", "utility/tstr"])
    assert latest.scores["fidelity/shape"].interval == (0.88, 0.92)
    assert latest.scores["utility/tstr"].status == "undetermined"
    assert latest.recipe["jobs"][0]["rows"] == 5
    assert latest.recipe["accept"]["candidates_per_row"] == 20


def test_versions_that_gates_name_are_read_once(repository):
    for version, plan in (("v1.0.0", "p1"), ("v1.0.1", "p2")):
        release(repository, version, plan, make_metrics(5, (SHAPE,)))
    gates = {"fidelity/shape": [{"not_worse_than": "v1.0.0"}, {"not_worse_than": "latest"}, {"at_least": 0}]}
    found = earlier_releases(repository, plan_of("p3", gates))
    assert {name: previous.version for name, previous in found.items()} == {"latest": "v1.0.1", "v1.0.0": "v1.0.0"}


def test_metrics_of_format_1_and_recipes_of_nobodys_format_do_not_crash(repository):
    old = {
        "rows": 5,
        "scores": {"fidelity/shape": {"value": 0.9, "normalised": None}, "odd": 3, "odder": {"value": "x"}},
    }
    release(repository, "v1.0.0", "p1", old, recipe="format: 99\n")
    latest = earlier_releases(repository, plan_of("p2", {}))["latest"]
    assert list(latest.scores) == ["fidelity/shape"]
    assert latest.scores["fidelity/shape"].interval is None
    assert latest.recipe == {}


def test_the_recipe_of_a_stage_is_what_it_depends_on_first():
    text = write_stage("", Stage("tiny", "recipes/other.yaml", ("a.csv",)))
    assert read_recipe_path(text, "tiny") == "recipes/other.yaml"
    assert read_recipe_path(text, "nobody") is None
    assert read_recipe_path("", "tiny") is None


def test_a_stage_without_plots_is_that_of_a_release_before_there_were_any():
    assert "plots" not in write_stage("", Stage("tiny", "r.yaml", (), has_plots=False))
    text = write_stage("", Stage("tiny", "r.yaml", ()))
    assert write_stage(text, Stage("tiny", "r.yaml", ())) == text
    assert "metrics/tiny-scores.csv" in text
