"""The other end of the loop: a classifier that is trained on synthetic digits and tested on real ones.

    dvc repro train                                    # makes the digits first, where they are missing or their recipe changed
    dvc exp run --set-param train.trees=50 train
    dvc metrics show metrics/train.json

`train.release` in params.yaml says what to train on: a release by version (`digits@v1.0.0`), which never changes, or with no version the
digits that lie in datasets/, so that a fresh clone needs no release.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds
from ruamel.yaml import YAML
from sklearn.ensemble import RandomForestClassifier

import synthmill
from synthmill.pixels import decode_image
from synthmill.recipe_file import load_recipe
from synthmill.sources import read
from synthmill.sources.split import split

ROOT = Path(__file__).resolve().parent.parent
METRICS = ROOT / "metrics" / "train.json"


def main() -> None:
    """Train on the synthetic rows, and beside it on the real rows that their generator was fitted on; test both on rows neither saw."""
    params = YAML(typ="safe").load((ROOT / "params.yaml").read_text())["train"]
    synthetic, version = synthetic_rows(params["release"])
    real, unseen = real_rows()
    found = {
        "release": version,
        "rows": synthetic.num_rows,
        "accuracy": accuracy(synthetic, unseen, params["trees"]),
        "accuracy_of_real": accuracy(real, unseen, params["trees"]),
    }
    METRICS.parent.mkdir(exist_ok=True)
    METRICS.write_text(json.dumps(found, indent=1) + "\n")


def synthetic_rows(release: str) -> tuple[pa.Table, str]:
    """The rows, and what they are called."""
    if "@" in release:
        loaded = synthmill.load(release, repo=ROOT)
        return loaded.arrow().to_table(), f"{loaded.manifest.dataset}@{loaded.version}"
    return ds.dataset(ROOT / "datasets" / release / "data").to_table(), f"datasets/{release}"


def real_rows() -> tuple[pa.Table, pa.Table]:
    """The real digits as the recipe splits them: those that the generator was fitted on, and those that it never saw."""
    source = load_recipe(ROOT / "recipes" / "digits.yaml").source
    found = read(source.path, root=ROOT, overrides=source.columns, target=source.target)
    parts = split(found.table, found.schema, source.holdout, root=ROOT)
    return parts.train, pa.concat_tables([parts.a, parts.b])


def accuracy(train: pa.Table, test: pa.Table, trees: int) -> float:
    """Share of the test rows whose label is read right."""
    forest = RandomForestClassifier(trees, random_state=0).fit(pixels(train), train["label"].to_numpy())
    return round(float(forest.score(pixels(test), test["label"].to_numpy())), 4)


def pixels(rows: pa.Table) -> np.ndarray:
    """(rows, pixels)"""
    return np.stack([np.asarray(decode_image(cell["bytes"])).ravel() for cell in rows["image"].to_pylist()])


if __name__ == "__main__":
    main()
