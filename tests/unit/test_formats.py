"""Older formats stay readable: one stored example of each, which no change may make unreadable.

When a format gets a new number, its example is added beside the old one; an old one is never made anew.
"""

from pathlib import Path

import pyarrow.parquet as pq
import pytest

from synthmill.columns import PROVENANCE
from synthmill.recipe_file import load_recipe
from synthmill.store.manifest import check, read_manifest

EXAMPLES = sorted((Path(__file__).parents[1] / "formats").iterdir())


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.name)
def test_a_recipe_of_an_older_format_is_read(example):
    recipe = load_recipe(example / "recipe.yaml")
    assert recipe.format == 1  # the folder's number is the release's; recipes have had one format so far
    assert recipe.dataset == "tiny"
    assert recipe.jobs[0].rows == 20


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.name)
def test_a_release_of_an_older_format_is_read_and_verified(example):
    manifest = read_manifest(example / "dataset")
    assert str(manifest.format) == example.name
    assert manifest.rows == 20
    assert list(check(example / "dataset")) == []
    table = pq.read_table(example / "dataset" / "data")
    assert table.column_names == [*manifest.schema_.names, *PROVENANCE]
