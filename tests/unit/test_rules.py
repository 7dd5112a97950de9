import pyarrow as pa
import pytest

from synthmill.columns import Column, Schema
from synthmill.errors import RecipeError
from synthmill.rules import Rules

SCHEMA = Schema(
    columns=(
        Column(name="age", kind="integer", dtype="int64"),
        Column(name="capital gain", kind="number", dtype="double"),
        Column(name="picture", kind="image", dtype="image"),
    )
)
TABLE = pa.table(
    {"age": [1, 20, None], "capital gain": [0.5, -1.0, 3.0], "picture": pa.nulls(3, SCHEMA["picture"].arrow)}
)


def test_a_rule_rejects_what_breaks_it_and_null_passes():
    rules = Rules(["age >= 17", '"capital gain" >= 0'], SCHEMA)
    assert [broken.to_pylist() for broken in rules.broken(TABLE)] == [[True, False, False], [False, True, False]]
    assert rules.met(TABLE).to_pylist() == [False, False, True]


def test_no_rules_reject_nothing():
    assert Rules([], SCHEMA).met(TABLE).to_pylist() == [True, True, True]


def test_a_comment_at_the_end_does_not_swallow_the_rest():
    assert Rules(["age >= 17 -- adults"], SCHEMA).met(TABLE).to_pylist() == [False, True, True]


@pytest.mark.parametrize(
    "rule",
    [
        "agee > 1",
        "picture is not null",
        "1) FROM read_csv('/etc/passwd') --",
        "age > 1; drop table candidates",
        "age > 1) as x, (1",
        "(select 1) = 1",
        "exists(select 1)",
        "read_text('/etc/passwd') is not null",
        "count(*) over () > 1",
        "sum(age) > 1",
        "random() > .5",
        "current_date > '2020-01-01'",
        "age",
        "'x'",
        "",
    ],
)
def test_what_is_no_boolean_expression_over_one_row_is_refused(rule):
    with pytest.raises(RecipeError, match=r"rules\.0"):
        Rules([rule], SCHEMA)


def test_columns_that_differ_in_case_alone_cannot_be_told_apart():
    schema = Schema(columns=tuple(Column(name=name, kind="integer", dtype="int64") for name in ("a", "A", "b")))
    with pytest.raises(RecipeError, match="in case alone"):
        Rules(['"A" <= 3'], schema)
    assert Rules(["b <= 3"], schema).met(pa.table({"a": [1], "A": [2], "b": [3]})).to_pylist() == [True]


def test_a_rule_that_fails_on_a_row_does_not_show_the_row():
    schema = Schema(columns=(Column(name="code", kind="category", dtype="string"),))
    rules = Rules(["CAST(code AS INTEGER) > 1"], schema)
    with pytest.raises(RecipeError, match="ConversionException") as caught:
        rules.broken(pa.table({"code": ["secret"]}))
    assert "secret" not in str(caught.value)
