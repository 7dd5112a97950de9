"""The whole loop in the project's own workspace, from a fresh clone: `dvc repro`, `dvc exp run`, `dvc dag`, `dvc metrics show`.

A clone with a smaller recipe; `synthmill` is the real command without Ray and Prefect, which saves their start.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
RECIPE = """\
dataset: digits
source: {path: sklearn:digits, target: label, holdout: 0.4}
jobs: [{generator: image/vae, rows: 50, balance: label, params: {steps: 2}}]
"""

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def clone(tmp_path_factory):
    """What git has of the workspace, as it stands here, in a repository of its own."""
    root = tmp_path_factory.mktemp("downstream") / "clone"
    names = run(ROOT, "git", "ls-files", "-z", "--cached", "--others", "--exclude-standard").split("\0")
    for name in filter(None, names):
        if not name.startswith(("docs/", "tests/", "bench/")) and (ROOT / name).is_file():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, root / name)
    (root / "recipes/digits.yaml").write_text(RECIPE)
    command = root.parent / "bin" / "synthmill"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\nexec {sys.executable} -m synthmill.cli "$@" --inline\n')
    command.chmod(0o755)
    run(root, "git", "init", "--quiet", "--initial-branch=main")
    run(root, "git", "add", "--all")
    run(root, "git", "commit", "--quiet", "--message", "As it is, and smaller")
    return root


def run(folder: Path, *command: str) -> str:
    """Standard output, as a user gets it with the commands of this environment on the path."""
    paths = [str(folder.parent / "bin"), str(Path(sys.executable).parent), os.environ["PATH"]]
    person = {
        f"GIT_{role}_{part}": "person@example.org" for role in ("AUTHOR", "COMMITTER") for part in ("NAME", "EMAIL")
    }
    environment = {
        **os.environ,
        **person,
        "PATH": ":".join(paths),
        "PYTHONPATH": str(ROOT),
        "XDG_CACHE_HOME": str(folder.parent / "cache"),
        "DVC_SITE_CACHE_DIR": str(folder.parent / "site"),
        "DVC_NO_ANALYTICS": "1",
    }
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def metrics(root: Path) -> dict:
    return json.loads((root / "metrics/train.json").read_text())


def test_the_loop_runs_from_a_fresh_clone_and_again_with_a_pinned_release(clone):
    assert '"digits" -> "train"' in run(clone, "dvc", "dag", "--dot", "train")

    run(clone, "dvc", "repro", "--quiet", "train")
    first = metrics(clone)
    assert (first["release"], first["rows"]) == ("datasets/digits", 50)
    assert first["accuracy_of_real"] > 0.9
    assert "up to date" in run(clone, "dvc", "status", "train", "digits")
    shown = json.loads(run(clone, "dvc", "metrics", "show", "--json"))[""]["data"]
    assert shown["metrics/train.json"]["data"] == first
    assert shown["metrics/digits.json"]["data"]["rows"] == 50

    (clone / "remote").mkdir()  # where .dvc/config has it
    run(clone, "synthmill", "run", "recipes/digits.yaml", "--release")
    pinned = ["--set-param", "train.release=digits@v1.0.0", "--set-param", "train.trees=20"]
    run(clone, "dvc", "exp", "run", "--quiet", "--name", "pinned", *pinned, "train")
    second = metrics(clone)
    assert (second["release"], second["rows"]) == ("digits@v1.0.0", 50)
    assert second["accuracy_of_real"] != first["accuracy_of_real"]
    assert "pinned" in run(clone, "dvc", "exp", "list")
