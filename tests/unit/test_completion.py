"""Filling the empty cells of given rows: what is given stays, the rest goes with it, and a row depends on its own cells and number."""

from functools import cache

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from support.tables import MIXED, mixed

from synthmill.columns import Column, Schema
from synthmill.completion import MISSING_REASON, UNKNOWN_REASON, Completer, CompletionTask, PartialRows
from synthmill.conditions import Condition
from synthmill.kits import make_kit
from synthmill.plan import make_plan
from synthmill.sources.partial import known_labels
from synthmill.spec import Recipe
from synthmill.work import FitTask, fit_model

ALL = frozenset(MIXED.names)
KEYED = Schema(columns=(Column(name="key", kind="id", dtype="string"), *MIXED.columns))


def train(schema=MIXED):
    table = mixed(1500)
    keys = pa.array([f"k{row:07d}" for row in range(table.num_rows)])
    return table if schema is MIXED else table.add_column(0, "key", keys).cast(schema.arrow)


@cache
def fitted(schema=MIXED):
    job = {"generator": "table/trees", "rows": 1}
    recipe = Recipe.model_validate({"dataset": "people", "source": {"path": "people.csv"}, "jobs": (job,)})
    rows = train(schema)
    plan = make_plan(recipe, schema, rows, rows.slice(0, 9), rows.slice(9, 9))
    task = FitTask(plan.models[0], schema, 0, "cpu")
    return plan.jobs[0], fit_model(task, rows, lambda step, steps, loss: None).files


def completer(*, schema=MIXED, rules=(), where=None, attempts=20, reject_copies=False, on_unknown="refuse"):
    job, files = fitted(schema)
    conditions = {name: Condition.model_validate({"is": value}) for name, value in (where or {}).items()}
    strata = tuple(stratum.model_copy(update={"where": conditions}) for stratum in job.strata)
    job = job.model_copy(update={"strata": strata, "exact": tuple(conditions)})
    kit = make_kit(job, files, schema, train(schema), rules=rules, reject_copies=reject_copies, device="cpu")
    return Completer(CompletionTask(kit, ALL, attempts, known_labels(MIXED, train()), on_unknown))


def gaps(rows=900, seed=1):
    """Rows that the model never saw, with a third of three columns' cells empty at random; the others are whole."""
    table, rng = mixed(rows, seed).drop(["since"]), np.random.default_rng(seed)
    kept = {name: pa.array(rng.random(rows) < 2 / 3) for name in ("age", "income", "city")}
    return pa.table({n: pc.if_else(kept.get(n, True), table[n], None) for n in table.column_names})


def fill(cells, *, first=0, completion=0, **options):
    return completer(**options).complete(PartialRows(cells, first, completion))


def same_where_given(made, cells):
    return all(pc.all(pc.equal(made[name], cells[name])).as_py() for name in cells.column_names)


def test_given_cells_are_kept_and_every_empty_one_is_filled():
    cells = gaps()
    done = fill(cells)
    assert done.table.schema == MIXED.arrow
    assert same_where_given(done.table, cells)
    assert sum(column.null_count for column in done.table.drop(["since"]).columns) == 0
    since = done.table["since"]
    assert done.filled == sum(column.null_count for column in cells.columns) + len(since) - since.null_count > 1_000
    assert done.unfilled == {}


def test_what_is_filled_goes_with_what_is_given():
    cells = mixed(900, seed=3).select(["age", "city"])
    made = fill(cells).table.to_pandas()
    real = mixed(900, seed=3).to_pandas()
    known = made["income"].notna()
    assert np.corrcoef(made["income"][known], made["age"][known])[0, 1] > 0.8
    assert abs(np.corrcoef(np.random.default_rng(0).permutation(made["income"][known]), made["age"][known])[0, 1]) < 0.2
    assert ((made["age"] > 50) == made["member"]).mean() > 0.8
    assert made["income"].mean() == pytest.approx(real["income"].mean(), rel=0.05)


def test_a_column_that_is_not_there_is_made_as_train_has_it_missing_cells_included():
    since = fill(mixed(900, seed=3).drop(["since"])).table["since"]
    assert 0.05 < since.null_count / 900 < 0.15


def test_pieces_and_neighbours_do_not_change_a_row():
    cells = gaps()
    whole = fill(cells, rules=("income > 3000",)).table
    pieces = [
        fill(cells.slice(start, 250), first=start, rules=("income > 3000",)).table for start in (0, 250, 500, 750)
    ]
    assert pa.concat_tables(pieces).equals(whole)
    others = pa.concat_tables([cells.slice(500, 400), cells.slice(400, 500)])
    assert fill(others, rules=("income > 3000",)).table.slice(400, 500).equals(whole.slice(400, 500))
    assert not fill(cells, first=7, rules=("income > 3000",)).table.equals(whole)


def test_a_row_that_breaks_a_rule_is_tried_again_until_none_is_left():
    cells = pa.table({"age": pa.array([20, 79] * 50)})
    alone = fill(cells, rules=("income > 4000",), attempts=1)
    assert 0 < alone.unfilled["rule 0"] < 100
    assert alone.table["age"].to_pylist() == [20, 79] * 50
    left = pc.is_null(alone.table["city"]).to_numpy()
    assert left.sum() == alone.unfilled["rule 0"]
    again = fill(cells, rules=("income > 4000",), attempts=1000)
    kept = pa.array(~left)
    assert again.table.filter(kept).equals(alone.table.filter(kept)), "an accepted row stays what it was"
    assert pc.min(again.table["income"]).as_py() > 4000
    assert sum(again.unfilled.values()) < alone.unfilled["rule 0"]


def test_an_empty_cell_gets_a_value_where_there_is_one():
    """A tenth of the dates is missing in train: without a second attempt as many would stay empty."""
    cells = pa.table({"age": pa.array([40] * 500), "since": pa.nulls(500, pa.date32())})
    once = fill(cells, attempts=1)
    assert once.unfilled == {MISSING_REASON: once.table["since"].null_count}
    assert once.unfilled[MISSING_REASON] > 20
    assert once.table["city"].null_count == 0, "all else is filled"
    done = fill(cells)
    assert (done.table["since"].null_count, done.unfilled) == (0, {})


def test_conditions_fill_what_is_empty_and_never_what_is_given():
    cells = pa.table({"city": ["Riga", None, "Oslo"] * 20})
    done = fill(cells, where={"city": "Riga"})
    assert done.table["city"].to_pylist() == ["Riga", "Riga", "Oslo"] * 20
    assert done.unfilled == {"condition not met": 20}
    assert done.table["age"].null_count == 20


STRANGE = pa.table({"city": ["Atlantis", "Riga", None] * 40, "age": pa.array([30, None, 31] * 40)})


def test_rows_with_an_unknown_label_keep_their_gaps_where_that_was_asked_for():
    done = fill(STRANGE, on_unknown="keep")
    assert done.unfilled == {UNKNOWN_REASON: 40}
    assert same_where_given(done.table, STRANGE)
    assert done.table["city"].to_pylist()[::3] == ["Atlantis"] * 40
    assert done.table["member"].is_null().to_pylist() == [True, False, False] * 40
    rest = pa.array([False, True, True] * 40)
    known = STRANGE.set_column(0, "city", pa.array(["Oslo", "Riga", None] * 40))
    assert done.table.filter(rest).equals(fill(known).table.filter(rest)), "they change no other row"


def test_an_unknown_label_is_empty_to_the_model_and_stays_in_the_row():
    done = fill(STRANGE, on_unknown="blank")
    assert (done.unfilled, done.table["city"].to_pylist()[::3]) == ({}, ["Atlantis"] * 40)
    blanked = STRANGE.set_column(0, "city", pa.array([None, "Riga", None] * 40))
    assert done.table.drop(["city"]).equals(fill(blanked).table.drop(["city"]))


def test_rules_read_the_label_that_is_written():
    done = fill(STRANGE, on_unknown="blank", rules=("city <> 'Atlantis'",))
    assert done.unfilled == {"rule 0": 40}


def test_rows_without_a_gap_stay_even_where_they_break_a_rule():
    cells = mixed(50, seed=5).filter(pc.field("income").is_valid() & pc.field("since").is_valid())
    done = fill(cells, rules=("age > 100",))
    assert done.table.equals(cells)
    assert (done.filled, done.unfilled) == (0, {})


def test_several_completions_differ_in_what_was_drawn_alone():
    cells = gaps(200)
    tables = [fill(cells, completion=number).table for number in (0, 1, 0)]
    assert tables[0].equals(tables[2])
    assert not tables[0].equals(tables[1])
    assert all(same_where_given(table, cells) for table in tables)


def test_ids_are_kept_where_given_and_new_elsewhere():
    cells = pa.table({"key": ["mine", None] * 100, "age": pa.array([30] * 200)})
    keys = fill(cells, schema=KEYED).table["key"].to_pylist()
    assert keys[::2] == ["mine"] * 100
    assert len(set(keys[1::2]) - set(train(KEYED)["key"].to_pylist())) == 100


def test_copies_of_train_are_tried_again_where_the_recipe_rejects_them():
    rows = train().filter(pc.field("income").is_valid() & pc.field("since").is_valid()).slice(0, 50)
    cells = rows.set_column(2, "city", pa.nulls(50, pa.string()))
    done = fill(cells, reject_copies=True)
    made = set(map(str, done.table.to_pylist()))
    assert not made & set(map(str, rows.to_pylist()))
    assert set(map(str, fill(cells).table.to_pylist())) & set(map(str, rows.to_pylist()))
