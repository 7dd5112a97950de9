"""What every test can import: tests/support, and the plug-in in it as an installed package, for child processes too."""

import os
import sys
from pathlib import Path

TESTS = Path(__file__).parent
FOLDERS = [str(TESTS), str(TESTS / "support" / "plugin")]
sys.path[:0] = FOLDERS
os.environ.setdefault("OMP_NUM_THREADS", "1")  # torch with two threads on two busy cores is many times slower
os.environ.setdefault("PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW", "ignore")  # our loggers also work outside of flows
os.environ.setdefault(
    "RAY_DEDUP_LOGS_SKIP_REGEX", "."
)  # as the pool sets it; Ray reads it once, and a test may import Ray first
os.environ["PYTHONPATH"] = os.pathsep.join([*FOLDERS, *filter(None, [os.environ.get("PYTHONPATH")])])
