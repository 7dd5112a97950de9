import pyarrow as pa
import pytest

from synthmill.columns import Column, Domain
from synthmill.errors import RecipeError, SourceError
from synthmill.sources import read
from synthmill.spec import ColumnOverride


def source(tmp_path, text, **overrides):
    (tmp_path / "rows.csv").write_text(text)
    asked = {name: ColumnOverride.model_validate(override) for name, override in overrides.items()}
    return read("rows.csv", root=tmp_path, overrides=asked, target=None)


def test_the_recipe_describes_a_column_wholly(tmp_path):
    text = "age,job,pay,day,well\n20,a,1.5,2020-01-01,true\n30,b,2.25,2021-01-01,false\n40,a,9,2022-01-01,true\n"
    found = source(
        tmp_path,
        text,
        age={"bounds": (0, 99), "missing": True},
        job={"values": ("c", "b", "a")},
        pay={"bounds": (0.0, 10.0), "decimals": 2},
        day={"bounds": ("2019-01-01", "2029-12-31")},
        well={"values": (True, False)},
    )
    assert [(c.kind, c.nullable) for c in found.schema] == [
        ("integer", True),
        ("category", False),
        ("number", False),
        ("date", False),
        ("boolean", False),
    ]
    assert found.schema["pay"].domain == Domain(bounds=(0.0, 10.0), decimals=2)
    assert found.notes == ()


def test_kind_and_dtype_do_not_follow_the_rows(tmp_path):
    """Two values would be a category, whole numbers integers, all different ones an id."""
    found = source(
        tmp_path,
        "few,whole,key\n1,1,a\n2,2,b\n1,3,c\n",
        few={"bounds": (1, 5)},
        whole={"bounds": (0.0, 5.0)},
        key={"values": ("a", "b", "c", "d")},
    )
    assert [(c.kind, c.dtype) for c in found.schema] == [
        ("integer", "int64"),
        ("number", "double"),
        ("category", "string"),
    ]


def test_cells_beyond_are_moved_or_made_missing_and_counted(tmp_path):
    found = source(
        tmp_path,
        "age,job\n-5,a\n30,x\n999,b\n,a\n",
        age={"bounds": (0, 99), "missing": True},
        job={"values": ("a", "b"), "missing": True},
    )
    assert found.table["age"].to_pylist() == [0, 30, 99, None]
    assert found.table["job"].to_pylist() == ["a", None, "b", "a"]
    assert found.notes == (
        "cells moved to the recipe's bounds: age (2)",
        "cells made missing, as the recipe has no such label: job (1)",
    )


def test_rows_that_miss_a_cell_they_may_not_miss_are_left_out(tmp_path):
    found = source(tmp_path, "age,job\n1,a\n,a\n3,x\n4,b\n", age={"bounds": (0, 9)}, job={"values": ("a", "b")})
    assert found.table["age"].to_pylist() == [1, 4]
    with pytest.raises(SourceError, match="no rows"):
        source(tmp_path, "job\nx\ny\n", job={"values": ("a", "b")})


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ({"bounds": (9, 0)}, "not below the highest"),
        ({"bounds": (0, 9), "kind": "category"}, "kind category has no bounds"),
        ({"values": (1, 2), "kind": "integer"}, "kind integer has no values"),
        ({"bounds": ("10:00", "12:00")}, "do not tell the column's kind"),
    ],
)
def test_a_domain_that_is_none_is_refused(tmp_path, override, message):
    with pytest.raises(RecipeError, match=message):
        source(tmp_path, "age\n1\n2\n3\n", age=override)


def test_a_column_without_a_domain_is_written_as_before():
    column = Column(name="age", kind="integer", dtype="int64")
    assert "domain" not in column.model_dump(mode="json")
    described = column.model_copy(update={"domain": Domain(bounds=(0, 9))})
    assert Column.model_validate_json(described.model_dump_json()) == described
    assert pa.schema([pa.field("age", described.arrow)])
