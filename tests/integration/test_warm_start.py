"""The nightly run of a source that grows: the fit goes on from the last released model, and the report shows what changed."""

import json
import shutil

import pytest
from support.commands import good, make_workspace, synthmill, write_recipe

JOBS = "[{generator: table/llm, rows: 300, params: {warm_start: true, steps: 20, width: 16}}]"

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def grown(tmp_path_factory):
    """A release, a source that grew, and the next release; what the second run said."""
    workspace = make_workspace(tmp_path_factory.mktemp("warm") / "ws")
    recipe = write_recipe(workspace, jobs=JOBS)
    first = good(workspace, "run", recipe, "--inline", "--release")
    grow(workspace)
    return workspace, recipe, first, good(workspace, "run", recipe, "--inline", "--release")


def grow(workspace):
    people = workspace / "data" / "people.csv"
    with people.open("a") as file:
        file.write("".join(f"{50 + i % 9},,Turin\n" for i in range(300)))


def release(workspace, recipe):
    return json.loads(good(workspace, "run", recipe, "--inline", "--release", "--json").out)


def links(workspace):
    metrics = json.loads((workspace / "metrics" / "people.json").read_bytes())
    return list(metrics["models"].values())


def test_the_second_fit_goes_on_from_the_first(grown):
    workspace, _, first, second = grown
    assert "starts anew" in first.err
    assert "goes on from the model" in second.err
    (link,) = links(workspace)
    assert link["before"]["model"] != link["model"]
    assert (workspace / ".synthmill" / "models" / link["before"]["model"]).is_dir()


def test_the_report_shows_the_drift(grown):
    dataset = grown[0] / "datasets" / "people"
    drift = json.loads((dataset / "report.json").read_bytes())["drift"]
    assert (drift["rows_then"], drift["rows_now"], drift["stayed"]) == (1200, 1500, 1200)
    by_column = {one["column"]: one for one in drift["columns"]}
    assert by_column["city"]["distance"] == pytest.approx(0.2)  # a fifth of the rows have a label that was not there
    assert by_column["city"]["by_chance"] < 0.05
    assert by_column["score"]["missing_now"] == pytest.approx(0.2)
    assert drift["columns"][0]["distance"] == max(one["distance"] for one in drift["columns"])
    assert "Drift of the source" in (dataset / "report.html").read_text()


def test_the_same_rows_again_are_the_same_release(grown):
    workspace, recipe, *_ = grown
    again = release(workspace, recipe)
    assert (again["version"], again["is_new"]) == ("v2.0.0", False)  # a column that may be missing is another schema


def test_without_the_model_in_state_a_fit_starts_anew_but_a_release_cannot_be_repeated(grown, tmp_path):
    workspace, recipe = tmp_path / "ws", grown[1]
    shutil.copytree(grown[0], workspace, symlinks=True)
    before = links(workspace)[0]["before"]["model"]
    shutil.rmtree(workspace / ".synthmill")
    refused = synthmill(workspace, "run", recipe, "--inline")
    assert refused.code == 1
    assert before[:12] in refused.err
    grow(workspace)
    assert "starts anew" in good(workspace, "run", recipe, "--inline").err
