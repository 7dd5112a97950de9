"""The table of docs/guides/scores.md: what the scores say of tables of known worth. `python -m bench.known_worth [--rows 8000]`.

adult.csv is looked for in the folder that SYNTHMILL_TEST_DATA names.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

import numpy as np
import pyarrow as pa

from bench.controls import score_rows, shuffle
from synthmill.scoring.sides import Real
from synthmill.sources import read
from synthmill.spec import evaluator_of

DATA = Path(os.environ.get("SYNTHMILL_TEST_DATA", "../shared/data"))
SHOWN = (
    "fidelity/c2st",
    "fidelity/c2st_logistic",
    "fidelity/shape",
    "fidelity/trend",
    "fidelity/mutual_information",
    "fidelity/alpha_precision/beta_recall",
    "diversity/prdc",
    "diversity/prdc/precision",
    "utility/tstr",
    "utility/tstr/both",
    "privacy/copies",
    "privacy/dcr",
    "privacy/dcr/nndr",
    "privacy/membership",
    "privacy/membership/tpr",
    "privacy/attributes",
    "privacy/outliers",
    "fairness/representation/target",
    "fairness/outcomes",
    "validity/dependencies",
)


def candidates(train: pa.Table, unseen: pa.Table, rng: np.random.Generator) -> dict[str, pa.Table]:
    """Tables whose worth is known, each of as many rows as `train` and `unseen` have."""
    tenth = train.num_rows // 10
    return {
        "real rows": unseen,
        "columns on their own": shuffle(train, train.column_names, rng),
        "one column shuffled": shuffle(unseen, ["occupation"], rng),
        "a tenth, repeated": pa.concat_tables([unseen.slice(0, tenth)] * 10),
        "a tenth copied": pa.concat_tables([unseen.slice(0, unseen.num_rows - tenth), train.slice(0, tenth)]),
        "train": train,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=8_000, help="a side, a multiple of ten")
    rows = parser.parse_args().rows
    source = read("adult.csv", root=DATA.resolve(), overrides={}, target="income")
    rng = np.random.default_rng(0)
    quarters = np.array_split(rng.permutation(source.table.num_rows), 4)
    train, a, b, unseen = (source.table.take(quarter[:rows]) for quarter in quarters)
    keys = list(dict.fromkeys(map(evaluator_of, SHOWN)))
    columns = {}
    for name, candidate in candidates(train, unseen, rng).items():
        scores = score_rows(candidate, Real(a, b, train), source.schema, keys, seed=0, protected="sex")
        columns[name] = {score.name: score.value for score in scores.scores}
    print("| score | " + " | ".join(columns) + " |")
    print("| --- |" + " ---: |" * len(columns))
    for shown in SHOWN:
        cells = ("" if column[shown] is None else f"{column[shown]:.3f}" for column in columns.values())
        print(f"| `{shown}` | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
