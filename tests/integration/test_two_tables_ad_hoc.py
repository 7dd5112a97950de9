"""Commands that need no run, for a recipe with a child table."""

from __future__ import annotations

import pyarrow.csv
import pytest
from support.commands import good
from support.families import write_shop

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def workspace(tmp_path_factory):
    root = tmp_path_factory.mktemp("shop") / "ws"
    good(root.parent, "init", root.name)
    write_shop(root)
    return root


def test_a_sample_says_that_it_is_of_the_first_table_alone(workspace, tmp_path):
    out, words = tmp_path / "rows.csv", "first table alone: no rows of orders are written"
    done = good(workspace, "sample", "recipes/shop.yaml", "--rows", "9", "--out", out, "--fit")
    assert words in done.err
    assert pyarrow.csv.read_csv(out).column_names == ["customer_id", "segment", "income", "_orders"]
    out.write_text("segment\nnew\n")
    options = ["--out", tmp_path / "full.csv", "--fit", "--dry-run"]
    assert words in good(workspace, "sample", "recipes/shop.yaml", "--complete", out, *options).err
