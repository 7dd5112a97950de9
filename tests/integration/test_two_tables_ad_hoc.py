"""Commands that need no run, for a recipe with a child table."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow.csv
import pyarrow.parquet as pq
import pytest
from support.commands import good, synthmill, tree
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


JOBS = "[{generator: table/trees, rows: 60, balance: segment, params: {trees: 3}}, {generator: table/noise, rows: 40}]"


def shown(lines, title):
    """The cells of the table below a title, and the note below that."""
    start = next(number for number, line in enumerate(lines) if line.startswith(title))
    stop = lines.index("", start)
    return [line.split() for line in lines[start + 3 : stop - 1]], lines[stop - 1].strip()


def test_a_preview_shows_the_first_children_of_the_first_rows_of_each_job(workspace):
    before = tree(workspace)
    options = ["--set", f"jobs={JOBS}", "--set", "children.orders.params={trees: 3}"]
    lines = good(workspace, "preview", "recipes/shop.yaml", "--rows", "2", *options).out.splitlines()
    assert tree(workspace) == before
    assert [line for line in lines if line.startswith(("jobs", "children"))] == [
        "jobs.0: table/trees, 60 rows, balanced by segment",
        "children.orders: table/trees, for the rows above",
        "jobs.1: table/noise, 40 rows",
        "children.orders: table/trees, for the rows above",
    ]
    folder = Path(json.loads(good(workspace, "run", "recipes/shop.yaml", "--inline", "--json", *options).out)["path"])
    parents, made = (sorted((folder / part).glob("*.parquet")) for part in ("data", "orders/data"))
    for job, count in enumerate((6, 2)):
        first = pq.read_table(parents[job]).slice(0, count)
        asked = sum(first["_orders"].to_pylist())
        children = pq.read_table(made[job]).slice(0, min(asked, 4 * count)).to_pylist()
        rest = lines[lines.index(next(line for line in lines if line.startswith(f"jobs.{job}"))) :]
        cells, note = shown(rest, "children.orders")
        assert [row[0] for row in cells] == [str(child["order_id"]) for child in children]
        assert [row[1] for row in cells] == [child["customer_id"] for child in children]
        assert [row[3] for row in cells] == [child["channel"] for child in children]
        assert (
            note == f"{'all' if asked <= 4 * count else f'{4 * count} of'} {asked} rows of orders that belong to them"
        )


def test_a_preview_of_rows_without_children_says_so(workspace):
    options = ["--set", "jobs.0.where={_orders: {is: 0}}", "--rows", "2"]
    lines = good(workspace, "preview", "recipes/shop.yaml", *options).out.splitlines()
    start = lines.index("children.orders: table/trees, for the rows above")
    assert lines[start + 1] == "  none of those rows has rows of orders"


def test_children_that_no_attempt_can_make_hide_no_row_of_the_first_table(workspace):
    rich = """children.orders.rules=['"parent.income" > 60000']"""
    options = ["--set", "jobs.0.where={_orders: {is: 3}}", "--set", rich, "--rows", "1"]
    done = synthmill(workspace, "preview", "recipes/shop.yaml", *options)
    assert done.code == 1
    assert "jobs.0: table/trees" in done.out
    assert "  no preview: " in done.out
    assert "children.orders" in done.err
