"""The four evaluators of validity on rows that are counted by hand."""

import datetime
import math

import numpy as np
import pyarrow as pa
import pytest

from evaluators.validity._checks import MOST_LINES
from evaluators.validity.bounds import Bounds
from evaluators.validity.categories import Categories
from evaluators.validity.dependencies import Dependencies
from evaluators.validity.rules import Rules
from synthmill.columns import Column, Schema
from synthmill.errors import RecipeError
from synthmill.evaluator import Measured, Reference, References
from synthmill.shares import wilson

SCHEMA = Schema(
    columns=(
        Column(name="id", kind="id", dtype="int64"),
        Column(name="age", kind="integer", dtype="int64", nullable=True),
        Column(name="born", kind="date", dtype="date32"),
        Column(name="sex", kind="category", dtype="string", nullable=True),
        Column(name="adult", kind="boolean", dtype="bool", nullable=True),
    )
)
DAY = datetime.date(2000, 1, 1)


def people(*rows):
    """Rows of (age, days after 2000-01-01, sex, adult)."""
    ages, days, sexes, adults = zip(*rows, strict=True) if rows else ((), (), (), ())
    born = [DAY + datetime.timedelta(days=n) for n in days]
    columns = {"id": range(len(rows)), "age": ages, "born": born, "sex": sexes, "adult": adults}
    return pa.table({name: list(cells) for name, cells in columns.items()}, schema=SCHEMA.arrow)


TRAIN = people((20, 0, "F", True), (40, 100, "M", True), (30, 50, None, None), (None, 50, "F", True))


def measure(evaluator, measured, train=TRAIN, schema=SCHEMA, rules=()):
    features = evaluator.prepare(train, schema, seed=0)
    references = References(schema, Reference(train), Reference(train), features, rules=rules)
    return evaluator.measure(Measured(measured), references, seed=0)


def lines(measurement, name):
    return {tuple(line.values())[:-2]: line["broken"] for line in measurement.tables[name].to_pylist()}


def test_a_row_outside_in_one_amount_is_outside_and_missing_is_inside():
    measured = people((20, 0, "F", True), (41, 50, "F", True), (None, 101, "F", True), (19, -1, "F", True))
    found = measure(Bounds(), measured)
    assert found.scores[""] == 1 / 4
    assert found.intervals[""] == wilson(1, 4)
    assert lines(found, "columns") == {("age",): 2, ("born",): 2}


def test_no_bound_and_no_label_of_train_is_released():
    measured = people((99, 0, "F", True))
    for evaluator in (Bounds(), Categories()):
        cells = [cell for table in measure(evaluator, measured).tables.values() for cell in table.to_pydict().values()]
        assert not {20, 40, DAY, "F", "M"} & {cell for column in cells for cell in column}


def test_a_column_that_train_left_empty_has_no_bounds():
    empty = people((None, 0, "F", True), (None, 100, "M", True))
    assert measure(Bounds(), people((10**6, 50, "F", True)), train=empty).scores[""] == 1


def test_bounds_are_exact_where_doubles_are_not():
    large = 2**53
    found = measure(Bounds(), people((large + 1, 0, "F", True)), train=people((large, 0, "F", True)))
    assert found.scores[""] == 0


def test_a_row_with_an_unseen_label_is_counted_once_and_missing_passes():
    measured = people((20, 0, "F", True), (20, 0, "X", False), (20, 0, "X", True), (20, 0, None, None))
    found = measure(Categories(), measured)
    assert found.scores[""] == 2 / 4
    assert lines(found, "columns") == {("sex", 1): 2, ("adult", 1): 1}


def test_rules_count_rows_that_break_each_and_null_passes():
    measured = people((20, 0, "F", True), (10, 0, "M", True), (10, 0, "F", False), (None, 0, "F", True))
    found = measure(Rules(), measured, rules=("age >= 18", "NOT adult OR age >= 18"))
    assert found.scores[""] == 2 / 4
    assert lines(found, "rules") == {("age >= 18",): 2, ("NOT adult OR age >= 18",): 1}


def test_a_rule_that_cannot_run_is_the_recipes_fault():
    with pytest.raises(RecipeError, match="names weight"):
        measure(Rules(), TRAIN, rules=("weight > 0",))


@pytest.mark.parametrize("evaluator", [Rules(), Dependencies()])
def test_without_a_check_there_is_no_value(evaluator):
    assert math.isnan(measure(evaluator, TRAIN).scores[""])


@pytest.mark.parametrize("evaluator", [Bounds(), Categories()])
def test_without_a_column_of_the_kind_or_a_row_there_is_no_value(evaluator):
    only_ids = Schema(columns=SCHEMA.columns[:1])
    assert math.isnan(measure(evaluator, TRAIN, schema=only_ids).scores[""])
    assert math.isnan(measure(evaluator, people()).scores[""])


def table_of(**columns):
    """A schema and a table: text is a category, everything else an integer."""
    cells = {name: pa.array(values) for name, values in columns.items()}
    kinds = {
        name: ("category", "string") if pa.types.is_string(c.type) else ("integer", "int64")
        for name, c in cells.items()
    }
    schema = Schema(columns=tuple(Column(name=n, kind=k, dtype=d) for n, (k, d) in kinds.items()))
    return schema, pa.table(cells, schema=schema.arrow)


def cities(rows=400, seed=0):
    """zip decides city, city does not decide zip; `noise` and `flag` hang on nothing."""
    rng = np.random.default_rng(seed)
    zips = rng.integers(0, 40, rows)
    return table_of(
        zip=zips, city=[f"city {z // 8}" for z in zips], noise=rng.integers(0, 5, rows), flag=np.arange(rows) == 0
    )


def test_the_planted_dependency_is_found_and_no_other():
    schema, train = cities()
    [found] = Dependencies().prepare(train, schema, seed=0)
    assert (found.determinant, found.dependent) == ("zip", "city")


def test_rows_that_contradict_train_are_broken_and_unseen_or_missing_cells_are_not():
    schema, train = cities()
    _, measured = table_of(
        zip=[0, 0, 999, None, 1], city=["city 0", "city 4", "city 4", "city 4", None], noise=[0] * 5, flag=[0] * 5
    )
    found = measure(Dependencies(), measured, train=train, schema=schema)
    assert found.scores[""] == 4 / 5
    assert lines(found, "dependencies") == {("zip", "city"): 1}


def test_one_exception_in_the_last_of_many_train_rows_is_no_dependency():
    schema, train = cities(rows=5_000)
    assert len(Dependencies().prepare(train, schema, seed=0)) == 1
    last = train.slice(4_999).set_column(1, "city", pa.array(["elsewhere"]))
    broken = pa.concat_tables([train.slice(0, 4_999), last])
    assert Dependencies().prepare(broken, schema, seed=0) == ()


def test_missing_cells_of_train_break_no_dependency():
    schema, train = cities()
    holes = pa.array([None if row % 7 == 0 else city for row, city in enumerate(train["city"].to_pylist())])
    assert len(Dependencies().prepare(train.set_column(1, "city", holes), schema, seed=0)) == 1


def test_rows_that_stand_twice_make_no_dependency_of_a_fine_amount():
    rng = np.random.default_rng(0)
    amounts = np.repeat(rng.permutation(10_000)[:200], 2)
    schema, train = table_of(amount=amounts, label=np.repeat(rng.integers(0, 5, 200), 2))
    assert Dependencies().prepare(train, schema, seed=0) == ()


def test_chance_makes_a_dependency_in_none_of_200_tables():
    """A rare flag among few rows: no value of `group` happens to hold both flags in many of these tables."""
    found = 0
    for seed in range(200):
        rng = np.random.default_rng(seed)
        schema, train = table_of(group=rng.integers(0, 30, 300), flag=rng.random(300) < 0.01)
        found += len(Dependencies().prepare(train, schema, seed=0))
    assert found == 0


def test_the_released_table_stays_small():
    rng = np.random.default_rng(0)
    code = rng.integers(0, 10, 300)
    schema, train = table_of(**{f"c{i}": (code * 7 + i) % 10 for i in range(20)})
    found = measure(Dependencies(), train, train=train, schema=schema)
    assert found.scores[""] == 1
    assert found.tables["dependencies"].num_rows == MOST_LINES
