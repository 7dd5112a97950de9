from datetime import date, datetime, time

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from synthmill.columns import Column, Dtype, Kind
from synthmill.conditions import Condition, mask, meeting
from synthmill.errors import RecipeError

KINDS: dict[Dtype, Kind] = {
    "double": "number",
    "int64": "integer",
    "bool": "boolean",
    "string": "category",
    "date32": "date",
    "timestamp": "datetime",
    "time64": "time",
    "image": "image",
}


def column(dtype: Dtype, timezone: str | None = None) -> Column:
    return Column(name="c", kind=KINDS[dtype], dtype=dtype, timezone=timezone)


def met(dtype: Dtype, cells: list, condition: dict, timezone: str | None = None) -> list[bool]:
    of = column(dtype, timezone)
    return mask(pa.chunked_array([pa.array(cells, of.arrow)]), Condition(**condition), of).to_pylist()


@pytest.mark.parametrize(
    ("dtype", "cells", "condition", "expected"),
    [
        ("double", [0.0, -0.0, 1.5, None], {"is": 0}, [True, True, False, False]),
        ("double", [1.0, 2.0, 3.0, None], {"between": (1, 2.5)}, [True, True, False, False]),
        ("int64", [1, 2, 3, None], {"in": (1, 3)}, [True, False, True, False]),
        ("int64", [1, 2, 3], {"between": (2, 3)}, [False, True, True]),
        ("bool", [True, False, None], {"is": False}, [False, True, False]),
        ("string", ["5", "6", None], {"is": 5}, [True, False, False]),
        ("date32", [date(2020, 1, 1), date(2021, 1, 1)], {"between": ("2020-01-01", "2020-12-31")}, [True, False]),
        ("timestamp", [datetime(2020, 1, 1, 12), datetime(2020, 1, 2)], {"is": "2020-01-01T12:00"}, [True, False]),
        ("time64", [time(10, 30), time(23), None], {"between": ("09:00", "10:30:00")}, [True, False, False]),
    ],
)
def test_a_condition_holds_for_its_cells_and_never_for_a_missing_one(dtype, cells, condition, expected):
    assert met(dtype, cells, condition) == expected


def test_a_moment_without_an_offset_is_local_to_the_columns_time_zone():
    noon_in_berlin = datetime.fromisoformat("2020-01-01T12:00+01:00")
    assert met("timestamp", [noon_in_berlin], {"is": "2020-01-01 12:00"}, "Europe/Berlin") == [True]
    assert met("timestamp", [noon_in_berlin], {"is": "2020-01-01 11:00Z"}, "Europe/Berlin") == [True]


@pytest.mark.parametrize(
    ("dtype", "value"),
    [
        ("int64", "1"),
        ("int64", 1.5),
        ("int64", 10**30),
        ("double", "high"),
        ("bool", 1),
        ("int64", True),
        ("date32", "2020-02-31"),
        ("date32", "yesterday"),
        ("time64", "25:00"),
        ("image", "cat"),
    ],
)
def test_a_value_that_the_column_cannot_hold_is_a_recipe_error(dtype, value):
    with pytest.raises(RecipeError, match="cannot be read as that"):
        met(dtype, [], {"is": value})


def test_an_interval_upside_down_is_a_recipe_error():
    with pytest.raises(RecipeError, match="above the highest"):
        met("int64", [20], {"between": (30, 17)})


@pytest.mark.parametrize("text", ["{}", '{"is": null}', '{"is": 1, "in": [1]}', '{"in": []}', '{"like": "a"}'])
def test_a_condition_is_exactly_one_of_three(text):
    with pytest.raises(ValidationError):
        Condition.model_validate_json(text)


@given(st.lists(st.one_of(st.none(), st.integers(-5, 5)), max_size=30), st.integers(-5, 5), st.integers(-5, 5))
def test_conditions_agree_with_python(cells, first, second):
    low, high = sorted((first, second))
    assert met("int64", cells, {"between": (low, high)}) == [c is not None and low <= c <= high for c in cells]
    assert met("int64", cells, {"in": (low, high)}) == [c in (low, high) for c in cells]


def test_a_row_must_meet_every_condition():
    table = pa.table({"age": [20, 20, 40], "sex": ["F", "M", "F"]})
    columns = {"age": column("int64"), "sex": column("string")}
    where = {"age": Condition(between=(18, 30)), "sex": Condition(**{"is": "F"})}
    assert meeting(table, where, columns).to_pylist() == [True, False, False]
    assert meeting(table, {}, columns).to_pylist() == [True, True, True]
    assert meeting(table.slice(0, 0), where, columns).to_pylist() == []
