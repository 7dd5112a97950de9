"""The commands of docs/guides/ad-hoc.md, in the order of the guide's run, in a new workspace."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pyarrow.csv
import pyarrow.json
import pyarrow.parquet as pq
import pytest
from support.commands import good

from synthmill.sources import read

GUIDE = (Path(__file__).parents[2] / "docs/guides/ad-hoc.md").read_text()
RECIPE = """
dataset: fair
source: {path: statsmodels:fair, target: yrs_married}
jobs: [{generator: table/vae, rows: 300, params: {steps: 20}}]
rules: ["age > yrs_married"]
"""

pytestmark = pytest.mark.slow


def commands() -> list[list[str]]:
    blocks = re.findall(r"```bash\n(.*?)```", GUIDE, flags=re.DOTALL)
    return [shlex.split(line, comments=True)[1:] for block in blocks for line in block.splitlines()]


@pytest.fixture(scope="module")
def workspace(tmp_path_factory):
    root = tmp_path_factory.mktemp("guide") / "ws"
    good(root.parent, "init", root.name)
    (root / "recipes/fair.yaml").write_text(RECIPE)
    (root / "data").mkdir()
    table = read("statsmodels:fair", root=root, overrides={}, target=None).table
    pyarrow.csv.write_csv(table.slice(0, 1500), root / "data/train.csv")
    pyarrow.csv.write_csv(table.slice(1500, 1000), root / "data/holdout.csv")
    (root / "data/gaps.csv").write_text("age,yrs_married\n" + "27,2.5\n,9\n" * 100)
    return root


def test_the_commands_of_the_guide_do_what_it_says(workspace):
    asked = commands()
    assert [words[0] for words in asked] == ["preview", "run", *["sample"] * 7, "score"]
    done = []
    for words in asked:
        more = {"run": ["--inline", "--json"], "score": ["--scores", "fidelity/shape"]}.get(words[0], [])
        done.append(good(workspace, *words, *more))
    assert "jobs.0: table/vae, 300 rows" in done[0].out
    assert "  3 of " in done[0].out
    more = pq.read_table(workspace / "more.parquet")
    assert more.num_rows == 20_000
    [data] = Path(json.loads(done[1].out)["path"]).glob("data/*.parquet")
    assert (
        more.slice(0, 300)
        .replace_schema_metadata()
        .equals(pq.read_table(data).select(more.column_names).replace_schema_metadata())
    )
    young = pyarrow.csv.read_csv(workspace / "young.csv")
    assert (young.num_rows, set(young["age"].to_pylist())) == (500, {22})
    assert pyarrow.json.read_json(workspace / "other.jsonl").num_rows == 500
    assert len(done[5].out.splitlines()) == 6  # the header, and five rows
    assert "data/gaps.csv: 200 rows, 0 of them without an empty cell" in done[6].err
    full = pyarrow.csv.read_csv(workspace / "full.csv")
    assert full["yrs_married"].to_pylist() == [2.5, 9] * 100
    assert full["age"].to_pylist()[::2] == [27] * 100
    assert all(column.null_count == 0 for column in full.columns)
    five = pq.read_table(workspace / "five.parquet")
    assert five["_completion"].to_pylist() == [number for number in range(5) for _ in range(200)]
    assert (workspace / "kept.csv").read_bytes() == (workspace / "full.csv").read_bytes()  # no label is unknown
    assert (workspace / "scores/more/report.html").is_file()
    assert "fidelity/shape" in done[9].out
