"""Real data that does not come with a dependency: skipped where SYNTHMILL_TEST_DATA, or the folder it defaults to, is absent."""

import os
from pathlib import Path

import pytest

from synthmill.plan import make_plan
from synthmill.recipe_file import load_recipe
from synthmill.rows import row_hashes
from synthmill.sources import read
from synthmill.sources.split import split

DATA = Path(os.environ.get("SYNTHMILL_TEST_DATA") or Path(__file__).parents[3] / "shared" / "data")
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason="no SYNTHMILL_TEST_DATA")

FILES = [  # name, rows, columns, target, its kind
    ("adult.csv", 32_561, 15, "income", "category"),
    ("default.csv", 30_000, 24, "default payment next month", "category"),
    ("shoppers.csv", 12_330, 18, "Revenue", "category"),
    ("magic_train.csv", 15_216, 11, "class", "category"),
    ("beijing.csv", 43_824, 13, "pm2.5", "integer"),
]


@needs_data
@pytest.mark.parametrize(("name", "rows", "columns", "target", "kind"), FILES)
def test_a_real_table_is_read_as_a_person_would(name, rows, columns, target, kind):
    found = read(name, root=DATA, overrides={}, target=target)
    assert (found.table.num_rows, found.table.num_columns) == (rows, columns)
    assert found.schema[target].kind == kind
    parts = split(found.table, found.schema, 0.2, root=DATA)
    assert parts.train.num_rows + parts.a.num_rows + parts.b.num_rows == rows
    assert abs(parts.a.num_rows + parts.b.num_rows - 0.2 * rows) < 0.02 * rows


@needs_data
def test_copies_of_train_are_as_many_in_the_holdout_as_in_a_random_split():
    found = read("shoppers.csv", root=DATA, overrides={}, target="Revenue")
    parts = split(found.table, found.schema, 0.2, root=DATA)
    train = {tuple(h) for h in row_hashes(parts.train, found.schema.names).tolist()}
    held = row_hashes(parts.a, found.schema.names).tolist() + row_hashes(parts.b, found.schema.names).tolist()
    share = sum(tuple(h) in train for h in held) / len(held)
    assert 0.008 < share < 0.025  # 1.5 % in a random split; a split by the plain row hash has none


@needs_data
def test_adult_is_planned_with_conditions_balance_and_rules(tmp_path):
    recipe = tmp_path / "adult.yaml"
    recipe.write_text(
        """\
dataset: adult-rebalanced
source: {path: adult.csv, target: income}
jobs:
  - {generator: table/vae, rows: 20_000, balance: income}
  - {generator: table/vae, rows: 5_000, where: {income: {is: ">50K"}, age: {between: [17, 30]}, sex: {in: [Male, Female]}}}
rules: ["age >= 17"]
"""
    )
    loaded = load_recipe(recipe)
    found = read(loaded.source.path, root=DATA, overrides={}, target="income")
    parts = split(found.table, found.schema, loaded.source.holdout, root=DATA)
    plan = make_plan(loaded, found.schema, parts.train, parts.a, parts.b)
    assert [stratum.rows for stratum in plan.jobs[0].strata] == [10_000, 10_000]
    assert len(plan.models) == 1
    assert set(plan.jobs[1].exact) == {"income", "age", "sex"}
