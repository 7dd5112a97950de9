"""Customers and their orders from one recipe: the same release by any engine and after any kill, with keys, counts and dependence kept."""

from __future__ import annotations

import contextlib
import json
import re
import shlex
import signal
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
from datasets import load_dataset
from support.commands import good, synthmill
from support.families import MEAN_ORDERS, customers, orders, write_shop
from support.kills import Kill, run

from synthmill.fingerprint import hash_folder
from synthmill.store.keys import check_keys

GUIDE = Path(__file__).parents[2] / "docs/guides/two-tables.md"
[RECIPE] = re.findall(r"```yaml\n(.*?)```", GUIDE.read_text(), flags=re.DOTALL)

KILLED = -signal.SIGKILL

pytestmark = pytest.mark.slow


def make_workspace(folder):
    good(folder.parent, "init", folder.name)
    write_shop(folder, RECIPE, rows=2000)
    return folder


@pytest.fixture(scope="module")
def guided(tmp_path_factory):
    """The guide's commands in their order, and what each of them printed."""
    root = make_workspace(tmp_path_factory.mktemp("guide") / "ws")
    lines = "\n".join(re.findall(r"```bash\n(.*?)```", GUIDE.read_text(), flags=re.DOTALL)).splitlines()
    asked = [shlex.split(line, comments=True)[1:] for line in lines]
    return root, [good(root, *words, *(["--inline"] if words[0] == "run" else [])) for words in asked]


@pytest.fixture(scope="module")
def tables(guided):
    root, _ = guided
    return pq.read_table(root / "datasets/shop/data"), pq.read_table(root / "datasets/shop/orders/data")


def test_the_guide_releases_both_tables_under_one_version(guided):
    root, (ran, verified) = guided
    assert "shop v1.0.0: 3,000 rows" in ran.out
    assert re.search(r"^orders: [\d,]+ rows$", ran.out, flags=re.MULTILINE)
    assert "are what the manifest says" in verified.out
    manifest = json.loads((root / "datasets/shop/manifest.json").read_text())
    child = manifest["children"]["orders"]
    assert (child["key"], child["reference"]) == ("customer_id", "customer_id")
    [file] = [entry for entry in manifest["files"] if entry["path"].startswith("orders/data/")]
    assert (
        file["rows"]
        == child["rows"]
        == json.loads((root / "metrics/shop.json").read_text())["children"]["orders"]["rows"]
    )
    assert [column["name"] for column in child["schema"]["columns"]] == ["order_id", "customer_id", "amount", "channel"]
    stage = (root / "dvc.yaml").read_text()
    assert "data/customers.csv" in stage
    assert "data/orders.csv" in stage


def test_every_order_belongs_to_a_customer_who_has_as_many_as_it_is_said(tables):
    parents, children = tables
    assert len(pc.unique(parents["customer_id"])) == parents.num_rows == 3000
    assert len(pc.unique(children["order_id"])) == children.num_rows
    counts = dict(zip(*np.unique(children["customer_id"].to_pylist(), return_counts=True), strict=True))
    assert parents["_orders"].to_pylist() == [counts.get(key, 0) for key in parents["customer_id"].to_pylist()]
    assert set(counts) <= set(parents["customer_id"].to_pylist())


def test_no_key_is_a_real_one(tables):
    parents, children = tables
    real = customers(2000)
    assert not set(parents["customer_id"].to_pylist()) & set(real["customer_id"].to_pylist())
    assert not set(children["order_id"].to_pylist()) & set(orders(real)["order_id"].to_pylist())


def test_counts_follow_the_segment_as_in_the_real_tables(tables):
    parents, _ = tables
    for segment, mean in MEAN_ORDERS.items():
        counts = parents.filter(pc.equal(parents["segment"], segment))["_orders"].to_numpy()
        assert abs(counts.mean() - mean) < 0.15 * mean + 0.05
        assert abs((counts == 0).mean() - np.exp(-mean)) < 0.06  # of a Poisson count


def test_amounts_follow_the_customers_income_and_their_own_channel(tables):
    parents, children = tables
    place = pc.index_in(children["customer_id"], value_set=parents["customer_id"].combine_chunks())
    income = parents["income"].take(place).to_numpy()
    online = np.array(children["channel"].to_pylist()) == "online"
    assert abs(online[income > 25_000].mean() - 0.8) < 0.06
    assert abs(online[income < 20_000].mean() - 0.3) < 0.06
    rates = children["amount"].to_numpy() / income
    assert abs(np.median(rates[online]) - 0.01) < 0.0015
    assert abs(np.median(rates[~online]) - 0.03) < 0.0045


def test_the_scores_of_the_orders_see_what_ties_them_to_customers(guided):
    root, _ = guided
    scores = json.loads((root / "metrics/shop.json").read_text())["children"]["orders"]["scores"]
    detector = scores["fidelity/c2st"]
    assert detector["status"] == "ok"
    assert detector["floor"] + 0.2 < detector["value"]
    report = json.loads((root / "datasets/shop/orders/report.json").read_text())
    assert "parent.income" in json.dumps(report)


def test_hugging_face_reads_both_tables(guided, tables, tmp_path):
    root, _ = guided
    for config, table in zip(("default", "orders"), tables, strict=True):
        rows = load_dataset(str(root / "datasets/shop"), config, split="train", cache_dir=str(tmp_path))
        assert rows.num_rows == table.num_rows
        assert rows.column_names == table.column_names


def test_verify_finds_an_order_without_a_customer(guided, tmp_path):
    root, _ = guided
    folder = tmp_path / "shop"
    for part in ("data", "orders/data"):
        (folder / part).mkdir(parents=True)
        pq.write_table(pq.read_table(root / "datasets/shop" / part), folder / part / "all.parquet")
    assert list(check_keys(folder, "orders", "customer_id", "customer_id")) == []
    broken = pq.read_table(folder / "orders/data")
    gone = pc.if_else(pa.array(np.arange(broken.num_rows) < 1), "nobody", broken["customer_id"])
    pq.write_table(broken.set_column(1, "customer_id", gone), folder / "orders/data/all.parquet")
    found = list(check_keys(folder, "orders", "customer_id", "customer_id"))
    assert found[0] == f"orders/data/: 1 of {broken.num_rows:,} rows belong to no row of data/"
    assert found[1].startswith("data/: 1 of 3,000 rows have other numbers of orders")


def test_workers_and_kills_change_no_byte_of_either_table(guided, tmp_path):
    root, _ = guided
    workspace, recipe = make_workspace(tmp_path / "ws"), "recipes/shop.yaml"
    ran = run(workspace, "--inline", kills=[Kill(r"orders: [\d,]+ rows for")], recipe=recipe)
    assert ran.code == KILLED, ran.lines
    ran = run(workspace, "--workers", "2", kills=[Kill(r"generate orders 0 table/trees: [1-9]")], recipe=recipe)
    assert ran.code == KILLED, ran.lines
    assert any(line.startswith("assemble: found, 3,000 rows") for line in ran.lines)
    assert run(workspace, "--workers", "2", recipe=recipe).code == 0
    assert hash_folder(workspace / "datasets/shop") == hash_folder(root / "datasets/shop")


def test_a_gate_of_the_child_blocks_the_whole_release(guided):
    root, _ = guided
    path = root / "recipes/shop.yaml"
    kept = path.read_text()
    path.write_text(kept.replace("at_least: 0.2", "at_least: 1.1"))
    with contextlib.ExitStack() as stack:
        stack.callback(path.write_text, kept)
        done = synthmill(root, "run", "recipes/shop.yaml", "--inline", "--place")
    assert done.code == 3
    assert "orders: fidelity/c2st missed" in done.err
