"""Commands that need no run, for a recipe with a child table."""

from __future__ import annotations

import json

import pyarrow.csv
import pytest
from support.commands import good, tree
from support.families import MEAN_ORDERS, customers, orders, write_shop

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def workspace(tmp_path_factory):
    root = tmp_path_factory.mktemp("shop") / "ws"
    good(root.parent, "init", root.name)
    write_shop(root)
    return root


def dry_run(workspace, *options):
    text = good(workspace, "run", "recipes/shop.yaml", "--dry-run", *options).out
    return text, json.loads(good(workspace, "run", "recipes/shop.yaml", "--dry-run", "--json", *options).out)


def test_a_dry_run_says_how_many_children_there_will_be_and_what_they_cost(workspace):
    before = tree(workspace)
    text, told = dry_run(workspace)
    assert tree(workspace) == before
    real = orders(customers(800)).num_rows / 800
    [job], orders_cost = told["plan"]["jobs"], told["estimate"]["children"]["orders"]
    assert abs(orders_cost["rows"] / job["rows"] - real) < 0.2
    assert f"children.orders: table/trees, about {orders_cost['rows']:,} rows for jobs.0, " in text
    assert "\n  of that orders: fit about " in text
    assert 0 < orders_cost["fit_s"] < told["estimate"]["fit_s"]
    assert 0 < orders_cost["generate_s"] < told["estimate"]["generate_s"]
    assert 0 < orders_cost["disk_bytes"] < told["estimate"]["disk_bytes"]


def test_children_are_expected_by_the_conditions_of_each_job(workspace):
    options = ["--set", "jobs.0.where={segment: {is: business}}", "--set", "jobs.0.rows=100"]
    text, told = dry_run(workspace, *options)
    rows = told["estimate"]["children"]["orders"]["rows"]
    assert abs(rows / 100 - MEAN_ORDERS["business"]) < 0.5
    assert f"about {rows} rows for jobs.0, {rows / 100:.2g} a row" in text


def test_a_sample_says_that_it_is_of_the_first_table_alone(workspace, tmp_path):
    out, words = tmp_path / "rows.csv", "first table alone: no rows of orders are written"
    done = good(workspace, "sample", "recipes/shop.yaml", "--rows", "9", "--out", out, "--fit")
    assert words in done.err
    assert pyarrow.csv.read_csv(out).column_names == ["customer_id", "segment", "income", "_orders"]
    out.write_text("segment\nnew\n")
    options = ["--out", tmp_path / "full.csv", "--fit", "--dry-run"]
    assert words in good(workspace, "sample", "recipes/shop.yaml", "--complete", out, *options).err
