"""Older formats stay readable: one stored example of each, which no change may make unreadable.

formats/N/dataset      a release, with recipe.yaml, dvc.lock and runs.jsonl of its commit
formats/N/metrics-M    what git keeps of its scores, by the format of its own
formats/N/staging      a staged shard and its receipt
formats/N/model        a model and its receipt

When a format gets a new number, its example is added beside the old one; an old one is never made anew.
"""

import json
import shutil
import subprocess
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from synthmill.columns import PROVENANCE
from synthmill.plan import make_plan
from synthmill.recipe_file import load_recipe
from synthmill.sources import read
from synthmill.sources.split import split
from synthmill.store.earlier import earlier_releases
from synthmill.store.git import Git
from synthmill.store.manifest import check, read_manifest
from synthmill.store.models import read_model
from synthmill.store.runs import with_run
from synthmill.store.stage import read_address, read_outs
from synthmill.store.staging import Judge, read_receipts
from synthmill.store.versions import read_releases

FORMATS = Path(__file__).parents[1] / "formats"
EXAMPLES = sorted(FORMATS.iterdir())
METRICS = sorted(FORMATS.glob("*/metrics-*.json"))
LOCKS = sorted(FORMATS.glob("*/dvc.lock"))
STAGING, MODELS = sorted(FORMATS.glob("*/staging")), sorted(FORMATS.glob("*/model"))


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.name)
def test_a_recipe_of_an_older_format_is_read(example):
    recipe = load_recipe(example / "recipe.yaml")
    assert recipe.format == 1  # the folder's number is the release's; recipes have had one format so far
    assert recipe.dataset == "tiny"
    assert recipe.jobs[0].rows == 20


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.name)
def test_a_release_of_an_older_format_is_read_and_verified(example):
    manifest = read_manifest(example / "dataset")
    assert str(manifest.format) == example.name
    assert manifest.rows == 20
    assert list(check(example / "dataset")) == []
    table = pq.read_table(example / "dataset" / "data")
    assert table.column_names == [*manifest.schema_.names, *PROVENANCE]


@pytest.mark.parametrize("metrics", METRICS, ids=lambda path: path.stem)
def test_metrics_of_an_older_format_are_what_later_releases_are_compared_with(metrics, tmp_path):
    (tmp_path / "metrics").mkdir()
    shutil.copyfile(metrics, tmp_path / "metrics" / "tiny.json")
    person = ("-c", "user.name=P", "-c", "user.email=p@example.org")
    for words in (("init", "-q"), ("add", "."), ("commit", "-qm", "old"), ("tag", "-a", "tiny@v1.0.0", "-m", "old")):
        subprocess.run(["git", *person, *words], cwd=tmp_path, check=True)
    [release] = read_releases(Git(tmp_path))
    assert (release.rows, release.identity.schema) == (20, "a507a735d88c04f6986dd8283df80e77")
    recipe = load_recipe(metrics.parent / "recipe.yaml", ("seed=9",))  # its own plan is not compared with itself
    source = read(recipe.source.path, root=tmp_path, overrides=recipe.source.columns, target=recipe.source.target)
    parts = split(source.table, source.schema, recipe.source.holdout, root=tmp_path)
    plan = make_plan(recipe, source.schema, parts.train, parts.a, parts.b)
    score = earlier_releases(Git(tmp_path), plan)["latest"].scores["fidelity/shape"]
    assert (score.value, score.normalised, score.interval) == (
        0.9,
        0.91,
        {"1": None, "2": (0.88, 0.92)}[metrics.stem[-1]],
    )


@pytest.mark.parametrize("staging", STAGING, ids=lambda path: path.parent.name)
def test_receipts_and_shards_of_an_older_format_are_gone_on_from(staging, tmp_path):
    shutil.copytree(staging, tmp_path / "staging")
    receipts = read_receipts(tmp_path / "staging")
    assert [(receipt.start, receipt.stop) for receipt in receipts] == [(0, 1024)]
    judge = Judge(tmp_path / "staging", rows=20, limit=400, unique=True)
    assert sum(table.num_rows for receipt in receipts for table in judge.judge(receipt, ["age"])) == 20
    judge.close()


@pytest.mark.parametrize("model", MODELS, ids=lambda path: path.parent.name)
def test_a_model_of_an_older_format_is_found(model, tmp_path):
    shutil.copytree(model, tmp_path / "model")
    receipt, files = read_model(tmp_path / "model")
    assert (receipt.generator, receipt.steps, sorted(files)) == ("table/vae", 2, ["codec.json", "network.safetensors"])


@pytest.mark.parametrize("dvc_lock", LOCKS, ids=lambda path: path.parent.name)
def test_what_an_older_release_left_in_git_is_read(dvc_lock):
    lock, runs = dvc_lock.read_text(), (dvc_lock.parent / "runs.jsonl").read_text()
    assert read_address(lock, "tiny") in read_outs(lock, "dvc.lock")
    line = json.loads(runs)
    assert with_run(runs, "another", line["plan"], {"version": line["version"]}) == runs
