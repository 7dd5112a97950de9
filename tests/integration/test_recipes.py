"""The two example recipes reach their gates, through the whole path without Ray and Prefect: what `make demo` shows."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.dataset
import pytest
from sklearn.datasets import load_digits
from sklearn.svm import SVC

from synthmill.pixels import decode_image

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def workspace(tmp_path_factory):
    root = tmp_path_factory.mktemp("recipes") / "ws"
    subprocess.run([sys.executable, "-m", "synthmill.cli", "init", root], check=True, capture_output=True)
    return root


def run(workspace, recipe):
    command = [sys.executable, "-m", "synthmill.cli", "run", f"recipes/{recipe}.yaml", "--inline", "--place", "--json"]
    done = subprocess.run(command, cwd=workspace, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    outcome = json.loads(done.stdout)
    assert all(gate["status"] == "passed" for gate in outcome["gates"])
    return outcome, pyarrow.dataset.dataset(Path(outcome["path"]) / "data").to_table()


def test_fair_passes_the_detector_and_trains_as_well_as_real_rows(workspace):
    outcome, table = run(workspace, "fair")
    scores = {score["name"]: score for score in outcome["scores"]}
    assert scores["fidelity/c2st"]["normalised"] >= 0.7
    assert scores["utility/tstr"]["value"] >= 0.9 * scores["utility/tstr"]["ceiling"]
    assert table.num_rows == outcome["rows"] == 5000
    assert np.all(table["age"].to_numpy() > table["yrs_married"].to_numpy())


def test_a_classifier_of_real_digits_reads_the_labels_that_were_asked_for(workspace):
    _, table = run(workspace, "digits")
    pixels = np.stack([np.asarray(decode_image(cell["bytes"])).ravel() for cell in table["image"].to_pylist()])
    asked = table["label"].to_numpy()
    assert np.array_equal(np.bincount(asked), np.full(10, 200))
    real = load_digits()
    classifier = SVC(gamma="scale").fit(real.data, real.target)
    read = classifier.predict(pixels / 255 * 16)
    assert np.mean(read == asked) >= 0.9
    assert min(np.mean(read[asked == label] == label) for label in range(10)) >= 0.8
    within = [
        np.var(pixels[asked == label] / 255 * 16, 0).mean() / np.var(real.data[real.target == label], 0).mean()
        for label in range(10)
    ]
    assert min(within) > 0.6  # of the variance of real digits of a label: none has collapsed


def test_a_fresh_workspace_needs_nothing_but_its_own_files(workspace):
    """What is placed is placed; the state can go."""
    shutil.rmtree(workspace / ".synthmill")
    command = [sys.executable, "-m", "synthmill.cli", "verify", "datasets/fair"]
    done = subprocess.run(command, cwd=workspace, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
