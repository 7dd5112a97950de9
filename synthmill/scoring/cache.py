"""Measurements that stand: the ceiling and the floor do not change with the candidate, and an equal candidate measures the same."""

from __future__ import annotations

import hashlib
import importlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from synthmill.fingerprint import fingerprint, hash_file
from synthmill.registry import evaluator, plug_in_of
from synthmill.rows import content_hash
from synthmill.scoring.sides import Exam
from synthmill.scoring.trials import Estimate, Trial
from synthmill.store.files import publish_bytes

FORMAT = 4


@dataclass(frozen=True, slots=True)
class Measurements:
    """A folder with a file per trial, named by all that decides its outcome; `source` is the fingerprint of the split source.

    `on_kept` hears of each file that is written.
    """

    folder: Path
    source: str
    versions: dict[str, str]
    on_kept: Callable[[Path], None] = lambda path: None

    def find(self, exam: Exam, trial: Trial) -> Estimate | None:
        """What was measured before; None where nothing was, or where the file is broken."""
        try:
            return Estimate.from_json(self._path(exam, trial).read_bytes())
        except (FileNotFoundError, KeyError, TypeError, ValueError):
            return None

    def keep(self, exam: Exam, trial: Trial, estimate: Estimate) -> None:
        """Store it for the next run."""
        path = self._path(exam, trial)
        path.parent.mkdir(parents=True, exist_ok=True)
        publish_bytes(path, estimate.to_json())
        self.on_kept(path)

    def _path(self, exam: Exam, trial: Trial) -> Path:
        kind = evaluator(trial.key)
        draw = exam.draws[trial.mixture, kind.maximum_rows]
        causes = {
            "format": FORMAT,
            "evaluator": [trial.key, kind.version, plug_in_of(trial.key)],
            "code": _code(),
            "role": content_hash(draw.candidate) if trial.role == "candidate" else trial.role,
            "source": self.source,
            "strata": [
                [s.job, s.label, {n: c.model_dump(mode="json") for n, c in s.where.items()}] for s in exam.strata
            ],
            "quotas": list(draw.quotas),
            "rows": [hashlib.sha256(numbers.tobytes()).hexdigest() for numbers in (draw.a, draw.b, draw.train)],
            "floor_key": draw.floor_key,  # covers the seed and the mixture
            "seed": exam.seed,
            "rules": list(exam.rules),
            "protected": exam.protected,
            "versions": self.versions,
        }
        return self.folder / f"{fingerprint('measurement', causes)}.json"


@cache
def _code() -> str:
    """A hash of all our code: versions are for what is released, and here it costs nothing to measure again after an upgrade."""
    folders = [importlib.import_module(name).__path__[0] for name in ("evaluators", "synthmill")]
    files = sorted(path for folder in folders for path in Path(folder).rglob("*.py"))
    return fingerprint("code", {"files": [hash_file(path) for path in files]})
