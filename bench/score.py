"""All evaluators on Adult: seconds, agreement with SDMetrics, and candidates of known worth. `python -m bench.score [--rows 16000]`.

adult.csv is looked for in the folder that SYNTHMILL_TEST_DATA names; SDMetrics runs in `.venv-peers` (`make .venv-peers/.ready`).
Nearest neighbours and prdc have a bench of their own: `python -m bench.neighbours`; planted copies too: `python -m bench.planted`.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from bench.controls import controls, score_rows, shuffle
from synthmill import registry
from synthmill.columns import Schema
from synthmill.engine import Result
from synthmill.inline import Inline
from synthmill.scoring import Scores
from synthmill.scoring.sides import Exam, Real
from synthmill.scoring.trials import Estimate, Examiner, Failed, Trial
from synthmill.sources import read

HERE = Path(__file__).parent
PEER = HERE.parent / ".venv-peers" / "bin" / "python"
DATA = Path(os.environ.get("SYNTHMILL_TEST_DATA", "../shared/data"))


def side_by_side(exam: Exam, trials: Sequence[Trial]) -> list[Result | Estimate | Failed]:
    """On all cores, as a run without Ray does it."""
    with Inline() as engine:
        return engine.map(Examiner, exam, trials, progress=lambda *_: None, should_stop=lambda: False)


def every_key() -> list[str]:
    """All evaluators of tables; the dearest first, so that it does not end alone."""
    keys = [key for key in registry.evaluator_keys() if registry.evaluator(key).modality == "table"]
    return sorted(keys, key=lambda key: key != "fidelity/c2st")


def speed(table: pa.Table, schema: Schema, rows: int) -> tuple[Scores, float, float]:
    """Everything at `rows` a side, nothing known before: scores, seconds, core-seconds.

    Adult has 32,561 rows: A and B are apart, train is drawn again from all of them.
    """
    rng = np.random.default_rng(0)
    order = rng.permutation(table.num_rows)
    real = Real(table.take(order[:rows]), table.take(order[-rows:]), table.take(rng.permutation(table.num_rows)[:rows]))
    candidate = shuffle(real.train, ["age", "workclass", "occupation", "sex"], rng)
    started, before = time.monotonic(), _core_seconds()
    scores = score_rows(
        candidate, real, schema, every_key(), seed=0, spread=side_by_side, rules=("age >= 17",), protected="sex"
    )
    return scores, time.monotonic() - started, _core_seconds() - before


def _core_seconds() -> float:
    used = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in used)


def quality_report(table: pa.Table, schema: Schema, rows: int) -> dict[str, float]:
    """SDMetrics' QualityReport (column shapes and pair trends) beside fidelity/shape and fidelity/trend on the same two tables."""
    rng = np.random.default_rng(0)
    order = rng.permutation(table.num_rows)
    a, b = table.take(order[:rows]), table.take(order[-rows:])
    started = time.monotonic()
    ours = {
        s.name: s for s in score_rows(a, Real(b, b, b), schema, ["fidelity/shape", "fidelity/trend"], seed=0).scores
    }
    seconds = time.monotonic() - started
    with TemporaryDirectory() as name:
        folder = Path(name)
        pq.write_table(a, folder / "synthetic.parquet")
        pq.write_table(b, folder / "real.parquet")
        kinds = {c.name: "categorical" if c.is_discrete else "numerical" for c in schema}
        (folder / "kinds.json").write_text(json.dumps(kinds))
        command = [PEER, "-I", HERE / "peers" / "quality_report.py", folder]
        theirs = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    return {
        "ours_s": seconds,
        "theirs_s": theirs["seconds"],
        "shape": ours["fidelity/shape"].value or 0.0,
        "their_shape": theirs["shape"],
        "trend": ours["fidelity/trend"].value or 0.0,
        "their_trend": theirs["trend"],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=16_000, help="a side")
    rows = parser.parse_args().rows
    source = read("adult.csv", root=DATA.resolve(), overrides={}, target="income")
    table, schema = source.table, source.schema

    scores, seconds, core_seconds = speed(table, schema, rows)
    print(f"every evaluator, {rows:,} rows a side: {seconds:.1f} s, {core_seconds:.1f} core-seconds")
    for found in scores.scores:
        numbers = "  ".join("     -" if n is None else f"{n:6.3f}" for n in (found.value, found.floor, found.ceiling))
        print(f"  {found.name:<36} {numbers}  {found.status} {found.reason}")

    if PEER.exists():
        both = quality_report(table, schema, rows)
        ratio = both["theirs_s"] / both["ours_s"]
        print(
            f"SDMetrics QualityReport, same tables: {both['theirs_s']:.1f} s, ours {both['ours_s']:.1f} s with floor, "
        )
        print(
            f"  ceiling and half-samples, ratio {ratio:.1f}; shape {both['shape']:.4f} against {both['their_shape']:.4f}, "
        )
        print(f"  trend {both['trend']:.4f} against {both['their_trend']:.4f} (they bin each table by its own range)")

    shown = (
        "fidelity/c2st",
        "fidelity/c2st_logistic",
        "fidelity/trend",
        "utility/tstr",
        "privacy/copies",
        "privacy/dcr",
    )
    print("candidates of known worth, a quarter of the rows each; value (normalised)")
    for name, control in controls(table, schema, shown, shuffled="occupation", spread=side_by_side).items():
        by_name = {found.name: found for found in control.scores}
        parts = []
        for key in shown:
            found = by_name[key]
            normalised = "" if found.normalised is None else f" ({found.normalised:.2f})"
            parts.append(f"{key} {found.value:.3f}{normalised}")
        print(f"  {name:<11} " + ", ".join(parts))
        if name == "shuffled":
            worst = min(control.tables["fidelity/trend/columns"].to_pylist(), key=lambda row: row["value"])
            print(f"  {'':<11} the column of the worst trends: {worst['column']}")


if __name__ == "__main__":
    main()
