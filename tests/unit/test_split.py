from datetime import date, datetime

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from synthmill.errors import RecipeError, SourceError
from synthmill.sources import read
from synthmill.sources.infer import infer
from synthmill.sources.split import Split, split
from synthmill.spec import HoldoutAfter, HoldoutBy


def people(rows: int = 2000, seed: int = 0) -> pa.Table:
    """Few-valued columns, so that many rows are equal."""
    random = np.random.default_rng(seed)
    return pa.table(
        {
            "age": random.integers(20, 30, rows),
            "sex": np.array(["F", "M"])[random.integers(0, 2, rows)],
            "shop": [f"shop {number}" for number in random.integers(0, 60, rows)],
        }
    )


def divide(table: pa.Table, holdout, root=None) -> Split:
    _, schema = infer(table, {}, None)
    return split(table, schema, holdout, root=root)


def rows(*tables: pa.Table) -> list[str]:
    return sorted(str(row) for table in tables for row in table.to_pylist())


def test_every_row_is_in_one_part_and_the_shares_are_as_asked():
    table = people()
    parts = divide(table, 0.2)
    assert rows(parts.train, parts.a, parts.b) == rows(table)
    assert parts.train.num_rows == pytest.approx(1600, abs=60)
    assert parts.a.num_rows == pytest.approx(200, abs=45)
    assert parts.train.schema == parts.a.schema == parts.b.schema == table.schema


@settings(max_examples=20)
@given(st.randoms(use_true_random=False))
def test_the_order_of_rows_changes_no_part(random):
    table = people(300)
    order = list(range(300))
    random.shuffle(order)
    one, other = divide(table, 0.3), divide(table.take(order), 0.3)
    for name in ("train", "a", "b"):
        assert rows(getattr(one, name)) == rows(getattr(other, name))


def test_a_larger_share_only_adds_to_the_holdout():
    small, large = divide(people(), 0.1), divide(people(), 0.3)
    assert set(rows(large.train)) <= set(rows(small.train))
    assert small.a.num_rows + small.b.num_rows < large.a.num_rows + large.b.num_rows


def test_rows_appended_move_no_row_that_was_there():
    table = people()
    distinct = table.append_column("n", pa.array(np.arange(2000)))
    before, after = divide(distinct.slice(0, 1500), 0.2), divide(distinct, 0.2)
    assert set(rows(before.train)) <= set(rows(after.train))
    assert set(rows(before.b)) <= set(rows(after.b))


def test_equal_rows_fall_on_both_sides_as_by_chance():
    table = pa.table({"c": ["same"] * 1000})
    parts = divide(table, 0.2)
    assert parts.a.num_rows + parts.b.num_rows == pytest.approx(200, abs=40)
    duplicates = pa.table({"c": [i // 2 for i in range(4000)]})
    parts = divide(duplicates, 0.2)
    both = set(parts.train["c"].to_pylist()) & {*parts.a["c"].to_pylist(), *parts.b["c"].to_pylist()}
    assert len(both) == pytest.approx(2000 * 2 * 0.8 * 0.2, abs=80)


def test_parts_keep_the_order_of_the_source():
    table = pa.table({"n": np.arange(500)})
    for part in (divide(table, 0.4).train, divide(table, 0.4).a):
        assert part["n"].to_pylist() == sorted(part["n"].to_pylist())


def test_a_group_is_whole_in_one_part():
    table = people()
    parts = divide(table, HoldoutBy(by="shop"))
    groups = [set(part["shop"].to_pylist()) for part in (parts.train, parts.a, parts.b)]
    assert sum(map(len, groups)) == len(set().union(*groups)) == 60
    assert rows(parts.train, parts.a, parts.b) == rows(table)


def test_a_group_stays_where_it_is_when_other_columns_change():
    table = people()
    changed = table.set_column(0, "age", pa.array([99] * table.num_rows))
    held = [set(divide(t, HoldoutBy(by="shop")).b["shop"].to_pylist()) for t in (table, changed)]
    assert held[0] == held[1]


def test_after_a_date_is_strictly_later_and_undated_rows_are_train():
    days = [date(2020, 1, 1 + i % 31) for i in range(400)]
    table = pa.table({"day": [None, *days], "n": list(range(401))})
    parts = divide(table, HoldoutAfter(after="2020-01-20"))
    assert max(d for d in parts.train["day"].to_pylist() if d) == date(2020, 1, 20)
    assert min([*parts.a["day"].to_pylist(), *parts.b["day"].to_pylist()]) == date(2020, 1, 21)
    assert parts.train["day"].null_count == 1


def test_after_names_its_column_where_there_are_several():
    table = pa.table(
        {"born": [date(2000, 1, 1)] * 60, "seen": [datetime(2020, 1, 1 + i % 30) for i in range(60)], "n": range(60)}
    )
    with pytest.raises(RecipeError, match=r"2 date columns\n.*born, seen"):
        divide(table, HoldoutAfter(after="2020-01-10"))
    parts = divide(table, HoldoutAfter(after="2020-01-10T12:00", column="seen"))
    assert parts.train.num_rows == 20
    for holdout, message in (
        (HoldoutAfter(after="10/1/2020", column="seen"), "cannot be read as datetime"),
        (HoldoutAfter(after="2020-01-10", column="n"), "n is of kind id, no date"),
        (HoldoutAfter(after="2020-01-10", column="sen"), "did you mean seen"),
        (HoldoutBy(by="bron"), "did you mean born"),
    ):
        with pytest.raises(RecipeError, match=message):
            divide(table, holdout)


def test_after_without_a_date_column_says_so():
    with pytest.raises(RecipeError, match="0 date columns"):
        divide(people(), HoldoutAfter(after="2020-01-10"))


def test_a_holdout_of_its_own_is_read_under_the_sources_schema(tmp_path):
    (tmp_path / "train.csv").write_text("zip,price\n" + "".join(f"0{i:04},{i}.5\n" for i in range(40)))
    (tmp_path / "test.csv").write_text("extra,price,zip\n" + "".join(f"x,{i},1{i:04}\n" for i in range(40)))
    source = read("train.csv", root=tmp_path, overrides={}, target=None)
    parts = split(source.table, source.schema, "test.csv", root=tmp_path)
    assert parts.train is source.table
    assert parts.a.num_rows + parts.b.num_rows == 40
    assert parts.a.schema == source.schema.arrow  # integers in that file, and yet text as in the source
    assert parts.b["zip"][0].as_py().startswith("1")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("zip\n1\n", "no column price"),
        ("zip,price\n1,high\n", "column price does not hold double as in the source in 1 of 1 rows"),
        ("zip,price\n", "no rows"),
    ],
)
def test_a_holdout_file_that_does_not_fit_is_a_source_error(tmp_path, text, message):
    (tmp_path / "train.csv").write_text("zip,price\n" + "".join(f"0{i:04},{i}.5\n" for i in range(40)))
    (tmp_path / "test.csv").write_text(text)
    source = read("train.csv", root=tmp_path, overrides={}, target=None)
    with pytest.raises(SourceError, match=message):
        split(source.table, source.schema, "test.csv", root=tmp_path)


@pytest.mark.parametrize(
    ("count", "holdout", "part"),
    [(1, 0.2, "holdout half"), (3, 0.01, "holdout half A"), (3, 0.999999, "train")],
)
def test_a_part_without_rows_is_a_source_error(count, holdout, part):
    with pytest.raises(SourceError, match=f"leaves {part}"):
        divide(people(count), holdout)


def test_images_split_by_their_pixels(tmp_path):
    source = read("sklearn:digits", root=tmp_path, overrides={}, target="label")
    parts = split(source.table, source.schema, 0.2, root=tmp_path)
    assert parts.train.num_rows == pytest.approx(0.8 * 1797, abs=60)
