"""The recipe and the commands of docs/guides/privacy.md, with fewer steps; what the release then says, and what it does not."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from support.commands import good, synthmill

from synthmill.recipe_file import load_recipe

GUIDE = (Path(__file__).parents[2] / "docs/guides/privacy.md").read_text()
RECIPE = "recipes/fair-private.yaml"

pytestmark = pytest.mark.slow


def commands():
    [block] = re.findall(r"```bash\n(.*?)```", GUIDE, flags=re.DOTALL)
    return [shlex.split(line, comments=True)[1:] for line in block.splitlines()]


@pytest.fixture(scope="module")
def workspace(tmp_path_factory):
    """What the guide's commands made, of its recipe with a small fit and few rows."""
    root = tmp_path_factory.mktemp("private") / "ws"
    good(root.parent, "init", root.name)
    [text] = re.findall(r"```yaml\n(.*?)```", GUIDE, flags=re.DOTALL)
    text = text.replace("rows: 4_000", "rows: 400").replace("epsilon: 3.0,", "epsilon: 3.0, steps: 20, width: 16,")
    (root / RECIPE).write_text(text.replace("scores: [fidelity/shape, utility/tstr]", "scores: [fidelity/shape]"))
    for words in commands():
        good(root, *words, *(["--inline"] if words[0] == "run" and "--dry-run" not in words else []))
    return root


def manifest(root):
    return json.loads((root / "datasets/fair-private/manifest.json").read_bytes())


def test_the_manifest_has_the_account(workspace):
    found = manifest(workspace)
    privacy = found["privacy"]
    assert 2.9 < privacy["epsilon"] <= 3.0
    assert privacy["delta"] == 1e-6
    [model] = privacy["models"].values()
    assert model["steps"] == 20
    assert set(model["noise_multipliers"]) == {"counts", "gradients"}
    assert "scores" in privacy["outside"][0]
    beside = {file["path"] for file in found["files"] if not file["path"].startswith("data/")} - {"croissant.json"}
    assert beside
    assert all(name in privacy["outside"][1] for name in beside)
    assert found["level"] == "statistical"
    assert "copies_of_train" not in found["jobs"][0]["strata"][0]


def test_card_and_report_say_what_is_outside(workspace):
    folder = workspace / "datasets/fair-private"
    for name in ("README.md", "report.html"):
        text = (folder / name).read_text()
        assert "epsilon 3" in text
        assert "report.json" in text
    assert "not told" in (folder / "README.md").read_text()


def test_rows_keep_to_the_recipe(workspace):
    recipe = load_recipe(workspace / RECIPE)
    rows = pq.read_table(workspace / "datasets/fair-private/data").to_pydict()
    for name, column in recipe.source.columns.items():
        low, high = column.bounds
        assert low <= min(rows[name])
        assert max(rows[name]) <= high
        assert column.decimals is None or rows[name] == [round(cell, column.decimals) for cell in rows[name]]


def test_the_same_state_makes_the_same_rows_again_and_another_does_not(workspace, tmp_path):
    before = manifest(workspace)
    for folder in ("models", "shards", "candidates"):
        (workspace / ".synthmill" / folder).rename(tmp_path / folder)
    good(workspace, "run", RECIPE, "--inline", "--place")
    assert manifest(workspace) == before
    (workspace / ".synthmill" / "private.key").unlink()
    good(workspace, "run", RECIPE, "--inline", "--place")
    after = manifest(workspace)
    assert after["source"] != before["source"]
    assert after["privacy"]["epsilon"] == pytest.approx(before["privacy"]["epsilon"], rel=0.01)
    assert [f["sha256"] for f in after["files"] if "data/" in f["path"]] != [
        f["sha256"] for f in before["files"] if "data/" in f["path"]
    ]


def test_the_secret_is_in_no_release(workspace):
    secret = (workspace / ".synthmill" / "private.key").read_bytes()
    released = [path for path in (workspace / "datasets").rglob("*") if path.is_file()]
    assert released
    for path in released:
        assert secret not in path.read_bytes()
        assert secret.hex() not in path.read_text(errors="ignore")


def test_a_column_without_bounds_is_refused_with_its_line(workspace):
    path = workspace / "recipes" / "bare.yaml"
    path.write_text((workspace / RECIPE).read_text().replace("    affairs: {bounds: [0.0, 60.0]}\n", ""))
    refused = synthmill(workspace, "run", path, "--inline")
    assert refused.code == 2
    assert re.search(r"bare\.yaml:\d+: source\.columns: .*it gives none for affairs", refused.err)
