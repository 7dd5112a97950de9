"""Candidates whose scores are known beforehand: what a score must say of them, it must say of yours.

holdout      real rows that nobody else has seen: a perfect generator
factorised   every column sampled on its own: right shapes, no dependence
copies       train rows handed out again
shuffled     real rows with one column shuffled
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from synthmill.columns import Schema
from synthmill.scoring import Scores, Spread, in_turn, most_rows, score
from synthmill.scoring.references import StratumShare
from synthmill.scoring.sides import Real, Subject, draw_exam


def controls(
    table: pa.Table, schema: Schema, keys: Sequence[str], *, shuffled: str, seed: int = 0, spread: Spread = in_turn
) -> Mapping[str, Scores]:
    """Scores of each control: the table's rows are dealt to train, A, B and the holdout control, a quarter each."""
    rng = np.random.default_rng(seed)
    train, a, b, holdout = (table.take(part) for part in np.array_split(rng.permutation(table.num_rows), 4))
    rows = min(train.num_rows, holdout.num_rows)
    candidates = {
        "holdout": holdout,
        "factorised": shuffle(train, train.column_names, rng),
        "copies": train,
        "shuffled": shuffle(holdout, [shuffled], rng),
    }
    return {
        name: score_rows(candidate.slice(0, rows), Real(a, b, train), schema, keys, seed=seed, spread=spread)
        for name, candidate in candidates.items()
    }


def shuffle(table: pa.Table, names: Sequence[str], rng: np.random.Generator) -> pa.Table:
    """The table with some columns shuffled, each on its own."""
    for name in names:
        column = table.column_names.index(name)
        table = table.set_column(column, name, table[name].take(rng.permutation(table.num_rows)))
    return table


def score_rows(
    candidate: pa.Table,
    real: Real,
    schema: Schema,
    keys: Sequence[str],
    *,
    seed: int,
    spread: Spread = in_turn,
    rules: tuple[str, ...] = (),
    protected: str | None = None,
) -> Scores:
    """Any rows as a candidate of one stratum."""
    with TemporaryDirectory() as folder:
        marked = candidate.append_column("_stratum", pa.array(["all"] * candidate.num_rows))
        pq.write_table(marked, Path(folder) / "candidate.parquet")
        strata = (StratumShare(0, "all", {}, candidate.num_rows),)
        subject = Subject(Path(folder), real, schema, strata, seed, rules, protected)
        return score(keys, draw_exam(subject, most_rows(keys)), spread=spread)
