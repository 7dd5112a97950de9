"""Customers and their orders: the number of orders hangs on the segment, their amounts on the customer's income and on each other."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv

SEGMENTS = ("business", "new", "private")
MEAN_ORDERS = {"business": 5.0, "new": 0.4, "private": 2.0}
RECIPE = """
dataset: shop
source: {path: data/customers.csv, key: customer_id, holdout: 0.5}
jobs: [{generator: table/trees, rows: 400}]
children:
  orders:
    source: {path: data/orders.csv, parent: customer_id}
    generator: table/trees
"""


def customers(rows=800, seed=0):
    rng = np.random.default_rng(seed)
    return pa.table(
        {
            "customer_id": [f"C{number:06d}" for number in rng.permutation(rows)],
            "segment": rng.choice(SEGMENTS, rows, p=[0.2, 0.3, 0.5]),
            "income": np.round(rng.lognormal(10, 0.6, rows)),
        }
    )


def orders(parents, seed=1):
    rng = np.random.default_rng(seed)
    counts = rng.poisson([MEAN_ORDERS[segment] for segment in parents["segment"].to_pylist()])
    owner = np.repeat(np.arange(parents.num_rows), counts)
    income = parents["income"].to_numpy()[owner]
    online = rng.random(len(owner)) < 0.3 + 0.5 * (income > 25_000)
    table = pa.table(
        {
            "order_id": np.arange(10_000, 10_000 + len(owner)),
            "customer_id": parents["customer_id"].take(owner),
            "amount": np.round(income * np.where(online, 0.01, 0.03) * rng.lognormal(0, 0.2, len(owner)), 2),
            "channel": np.where(online, "online", "shop"),
        }
    )
    return table.take(rng.permutation(len(owner)))


def write_shop(root: Path, recipe: str = RECIPE, rows: int = 800) -> Path:
    """The two files and the recipe in a workspace; the recipe's path."""
    (root / "data").mkdir(exist_ok=True)
    parents = customers(rows)
    pyarrow.csv.write_csv(parents, root / "data/customers.csv")
    pyarrow.csv.write_csv(orders(parents), root / "data/orders.csv")
    path = root / "recipes/shop.yaml"
    path.write_text(recipe)
    return path
