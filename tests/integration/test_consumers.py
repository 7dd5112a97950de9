"""Released datasets as other programs get and read them: the commands of docs/guides/pin-a-release.md, on a table and on images."""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import duckdb
import dvc.api
import pandas as pd
import polars as pl
import pyarrow.dataset
import pyarrow.parquet as pq
import pytest
from huggingface_hub import DatasetCard
from PIL import Image
from support.commands import good, synthmill

from synthmill.fingerprint import hash_file, hash_folder

GUIDE = Path(__file__).parents[2] / "docs" / "guides" / "pin-a-release.md"
ROWS = {"fair": 400, "digits": 60}
RECIPES = {
    "fair": "source: {path: statsmodels:fair}\njobs: [{generator: table/vae, rows: 400, params: {steps: 20}}]",
    "digits": "source: {path: sklearn:digits, target: label}\n"
    "jobs: [{generator: image/vae, rows: 60, balance: label, params: {steps: 20}}]",
}
REST = "release: {licence: CC0-1.0, rows_per_file: 150, include_real: true}"

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def workspace(tmp_path_factory):
    """Both datasets released as v1.0.0."""
    root = tmp_path_factory.mktemp("consumers") / "ws"
    good(root.parent, "init", root.name)
    for name, recipe in RECIPES.items():
        (root / f"recipes/{name}.yaml").write_text(f"dataset: {name}\n{recipe}\n{REST}\n")
        outcome = json.loads(good(root, "run", f"recipes/{name}.yaml", "--inline", "--release", "--json").out)
        assert (outcome["version"], outcome["rows"]) == ("v1.0.0", ROWS[name])
    return root


@pytest.fixture
def shell(tmp_path):
    """Run a line of bash as a user would, with the commands of this environment, and caches that end with the test."""
    environment = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "DVC_SITE_CACHE_DIR": str(tmp_path / "dvc"),
        "HF_HOME": str(tmp_path / "huggingface"),
        "HF_HUB_OFFLINE": "1",
        "DO_NOT_TRACK": "1",
        "XDG_CACHE_HOME": str(tmp_path / "cache"),
    }

    def run(folder: Path, line: str) -> str:
        done = subprocess.run(
            ["bash", "-c", line], cwd=folder, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"{line}\n{done.stderr}"
        return done.stdout.strip()

    return run


def blocks(language: str, heading: str) -> list[str]:
    """The fenced blocks in one language under one heading of the guide."""
    section = GUIDE.read_text().partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    return re.findall(rf"```{language}\n(.*?)```", section, flags=re.DOTALL)


@pytest.mark.parametrize("name", ROWS)
def test_release_leaves_nothing_to_do(workspace, shell, name):
    assert shell(workspace, "dvc status") == "Data and pipelines are up to date."
    assert shell(workspace, "git status --porcelain") == ""
    assert f"and {ROWS[name]} rows are what" in good(workspace, "verify", f"datasets/{name}").out


@pytest.mark.parametrize("name", ROWS)
def test_commands_of_the_guide_get_the_released_bytes(workspace, shell, tmp_path, name):
    [block] = blocks("bash", "With DVC, from another repository")
    lines = block.replace("WORKSPACE_URL", str(workspace)).replace("fair", name).splitlines()
    assert [line.split()[:3] for line in lines] == [
        ["dvc", "get", "--rev"],
        ["dvc", "import", "--rev"],
        ["dvc", "artifacts", "get"],
    ]
    for number, line in enumerate(lines):
        folder = tmp_path / str(number)
        folder.mkdir()
        shell(folder, f"git init --quiet && dvc init --quiet && {line}")
        assert hash_folder(folder / name) == hash_folder(workspace / "datasets" / name), line
    assert "rev: " + f"{name}@v1.0.0" in (tmp_path / "1" / f"{name}.dvc").read_text()


@pytest.mark.parametrize("name", ROWS)
def test_readers_of_the_guide_see_every_row(workspace, shell, tmp_path, name):
    """The Python of the guide as it stands, paragraph by paragraph, with the number of rows printed after each."""
    named = [*blocks("python", "From Python, without a copy of the repository"), *blocks("python", "Reading it")]
    opening, *readings = (block.replace("WORKSPACE_URL", str(workspace)).replace("fair", name) for block in named)
    script = [opening]
    for paragraph in "\n".join(readings).split("\n\n"):
        [variable] = re.findall(r"^(\w+) = ", paragraph, flags=re.MULTILINE)
        script.append(f"{paragraph}\nprint(len({variable}))")
    (tmp_path / "read.py").write_text("\n\n".join(script))
    seen = shell(tmp_path, "python read.py").splitlines()
    assert seen == [str(ROWS[name])] * 6  # pyarrow, pandas, polars, duckdb, datasets, mlcroissant
    assert synthmill(tmp_path, "verify", name).code == 0


@pytest.mark.parametrize("name", ROWS)
def test_load_of_the_guide_sees_every_row(workspace, shell, tmp_path, name):
    opening, loop, mixture = blocks("python", "With Synthmill")
    for number, block in enumerate([opening, loop, mixture] if name == "fair" else [opening]):
        text = block.replace("WORKSPACE_URL", str(workspace)).replace("fair", name)
        (tmp_path / f"{number}.py").write_text(text)
    seen = shell(tmp_path, "for script in *.py; do python $script; done").splitlines()
    rows = str(ROWS[name])
    version, manifest_rows, folder = seen[0].split()
    assert (version, manifest_rows) == ("v1.0.0", rows)
    assert folder.startswith(str(tmp_path / "cache"))
    assert seen[1:] == [rows] * 4 + (["800", "100"] if name == "fair" else [])  # two epochs; a fifth of 500


def test_readers_agree_on_every_cell_of_a_table(workspace):
    data = workspace / "datasets/fair/data"
    assert len(list(data.glob("*.parquet"))) == 3
    frames = {
        "pyarrow": pyarrow.dataset.dataset(data).to_table().to_pandas(),
        "pandas": pd.read_parquet(data),
        "polars": pl.read_parquet(data / "*.parquet").to_pandas(),
        "duckdb": duckdb.sql(f"SELECT * FROM '{data}/*.parquet'").df(),
    }
    expected = frames.pop("pyarrow")
    for reader, frame in frames.items():
        pd.testing.assert_frame_equal(frame, expected, check_dtype=False, obj=reader)


def test_hugging_face_sees_images(workspace, shell, tmp_path):
    script = f"""
import json
from datasets import load_dataset
for how in (dict(path="{workspace}/datasets/digits"), dict(path="parquet", data_files="{workspace}/datasets/digits/data/*.parquet")):
    rows = load_dataset(split="train", **how)
    print(json.dumps([type(rows.features["image"]).__name__, rows[7]["image"].size, rows[7]["label"], rows.num_rows]))
"""
    (tmp_path / "look.py").write_text(script)
    lines = shell(tmp_path, "python look.py").splitlines()
    assert [json.loads(line) for line in lines] == [["Image", [8, 8], 7, 60]] * 2


def test_images_are_whole_files_to_every_reader(workspace):
    data = workspace / "datasets/digits/data"
    cells = {
        "pandas": pd.read_parquet(data)["image"][0],
        "polars": pl.read_parquet(data / "*.parquet")["image"][0],
        "duckdb": duckdb.sql(f"SELECT image FROM '{data}/*.parquet' LIMIT 1").fetchall()[0][0],
    }
    for reader, cell in cells.items():
        with Image.open(io.BytesIO(cell["bytes"])) as image:
            assert (image.format, image.size) == ("PNG", (8, 8)), reader


@pytest.mark.parametrize("name", ROWS)
def test_card_and_metadata_describe_the_files(workspace, name):
    folder = workspace / "datasets" / name
    files = sorted((folder / "data").glob("*.parquet"))
    card = DatasetCard.load(folder / "README.md")
    assert (card.data.license, card.data.pretty_name) == ("cc0-1.0", name)
    assert "synthetic" in card.data.tags
    assert card.data.size_categories == ["n<1K"]
    config = card.data.configs[0]
    assert config == {"config_name": "default", "data_files": [{"split": "train", "path": "data/*.parquet"}]}
    croissant = json.loads((folder / "croissant.json").read_text())
    assert [entry["sha256"] for entry in croissant["distribution"] if entry["@type"] == "cr:FileObject"] == [
        hash_file(path) for path in files
    ]
    columns = pq.read_schema(files[0]).names
    assert [field["name"] for field in croissant["recordSet"][0]["field"]] == columns


def test_metrics_of_a_version_are_read_without_its_data(workspace):
    found = json.loads(dvc.api.read("metrics/fair.json", repo=str(workspace), rev="fair@v1.0.0"))
    assert (found["rows"], found["fingerprints"].keys()) == (400, {"schema", "code", "plan"})
