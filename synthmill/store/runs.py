"""runs/NAME.jsonl: one line for each run that released, in git; what metrics/ and datasets/ must not hold (time, user, usage).

Committed lines are history. A line in the work tree alone is of a run that was killed before its commit, and gives way.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from synthmill.store.git import Git


def runs_file(dataset: str) -> str:
    """The path, relative to the workspace."""
    return f"runs/{dataset}.jsonl"


def with_run(committed: str, run_id: str, plan: str, run: Mapping[str, object]) -> str:
    """The committed text with this run's line at its end; unchanged where its last line already tells of the plan in this version."""
    lines = committed.splitlines()
    last = json.loads(lines[-1]) if lines else {}
    if (last.get("plan"), last.get("version")) == (plan, run.get("version")):
        return committed
    line = json.dumps({"run": run_id, "plan": plan, **run}, sort_keys=True, allow_nan=False)
    return "".join(f"{line}\n" for line in (*lines, line))


def foreign_lines(root: Path, git: Git, dataset: str) -> list[str]:
    """Lines in the work tree or the index that neither HEAD holds nor a run of ours wrote."""
    path = runs_file(dataset)
    standing = (root / path).read_text() if (root / path).exists() else ""
    staged = (git.read("", path) or b"").decode()
    committed = (git.read("HEAD", path) or b"").decode().splitlines()
    return [line for line in (standing + staged).splitlines() if line not in committed and not _is_ours(line)]


def _is_ours(line: str) -> bool:
    try:
        entry = json.loads(line)
    except json.JSONDecodeError:
        return False
    return isinstance(entry, dict) and {"run", "plan"} <= entry.keys()
