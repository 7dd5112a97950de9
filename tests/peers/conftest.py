"""Other people's code as the judge of ours: each script runs in `.venv-peers`, an environment of its own that `make test` builds."""

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

HERE = Path(__file__).parent
PYTHON = HERE.parents[1] / ".venv-peers" / "bin" / "python"


@pytest.fixture(scope="session")
def peer() -> Callable[[str, Path], dict]:
    """Call `peer(name, folder)`: scripts/NAME.py reads the files in `folder` and prints one JSON object, which is returned."""
    if not PYTHON.exists():
        missing = "there is no .venv-peers: `make .venv-peers/.ready` builds it"
        (pytest.fail if os.environ.get("SYNTHMILL_CI") == "1" else pytest.skip)(missing)
    return _answer


def _answer(name: str, folder: Path) -> dict:
    # Isolated: PYTHONPATH holds our own test folders, which are no business of a peer.
    command = [PYTHON, "-I", HERE / "scripts" / f"{name}.py", folder]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)
