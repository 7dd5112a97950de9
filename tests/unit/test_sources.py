import decimal
import gzip
import json
from datetime import UTC, date, datetime, time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from synthmill.columns import IMAGE_TYPE
from synthmill.dtypes import MISSING
from synthmill.errors import RecipeError, SourceError, SynthmillError
from synthmill.pixels import encode_png
from synthmill.sources import SourceTable, is_file_source, read
from synthmill.sources.infer import describe
from synthmill.spec import ColumnOverride

SECRET = "hunter2"  # stands in cells of the data; no message may hold it


def write(root: Path, name: str, content: str | bytes) -> str:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return name


def load(root: Path, uri: str, target: str | None = None, **kinds: str) -> SourceTable:
    return read(
        uri, root=root, overrides={name: ColumnOverride(kind=kind) for name, kind in kinds.items()}, target=target
    )


def load_csv(root: Path, text: str | bytes, target: str | None = None, **kinds: str) -> SourceTable:
    return load(root, write(root, "data.csv", text), target, **kinds)


def load_table(root: Path, table: pa.Table, target: str | None = None, **kinds: str) -> SourceTable:
    pq.write_table(table, root / "data.parquet")
    return load(root, "data.parquet", target, **kinds)


def kinds_of(source: SourceTable) -> dict[str, tuple[str, str]]:
    return {column.name: (column.kind, column.dtype) for column in source.schema}


def png(shade: int = 0, side: int = 4) -> bytes:
    return encode_png(np.full((side, side), shade, np.uint8))


def refusal(root: Path, uri: str, kind: type[SynthmillError] = SourceError, **options: str) -> str:
    with pytest.raises(kind) as caught:
        load(root, uri, **options)
    assert caught.value.exit_code == 2
    assert SECRET not in str(caught.value)
    return str(caught.value)


# Text


def test_a_csv_is_typed_column_by_column(tmp_path):
    lines = [
        f"{i},{i}.5,{'True' if i % 3 else 'False'},{'a' if i % 2 else 'b'},2020-01-{i + 1:02},2020-01-01 10:{i:02}:00.25,09:{i:02}"
        for i in range(20)
    ]
    source = load_csv(tmp_path, "count,price,ok,kind,day,at,clock\n" + "\n".join(lines) + "\n,,,,,,\n")
    assert kinds_of(source) == {
        "count": ("integer", "int64"),
        "price": ("number", "double"),
        "ok": ("boolean", "bool"),
        "kind": ("category", "string"),
        "day": ("date", "date32"),
        "at": ("datetime", "timestamp"),
        "clock": ("time", "time64"),
    }
    assert list(source.table.slice(2, 1).to_pylist()[0].values()) == [
        2,
        2.5,
        True,
        "b",
        date(2020, 1, 3),
        datetime(2020, 1, 1, 10, 2, 0, 250_000),
        time(9, 2),
    ]
    assert all(column.nullable for column in source.schema)
    assert source.table.schema == source.schema.arrow


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        (["02134", "10001"], ["02134", "10001"]),  # postcodes
        (["1", "1.5"], [1.0, 1.5]),
        (["-3", "0"], [-3, 0]),
        (["1e3", ".5"], [1000.0, 0.5]),
        (["99999999999999999999", "1"], ["99999999999999999999", "1"]),
        (["0x10", "1"], ["0x10", "1"]),
        (["true", "False"], [True, False]),
        (["1", "true"], ["1", "true"]),
        (["2020-02-31", "2020-01-01"], ["2020-02-31", "2020-01-01"]),
        (["2020-01-01", "2020-01-01T01:00"], [datetime(2020, 1, 1), datetime(2020, 1, 1, 1)]),
        (["2020-01-01T01:00:00+01:00", "2020-01-01T00:00Z"], [datetime(2020, 1, 1, tzinfo=UTC)] * 2),
        (["1/2/2020", "3/4/2020"], ["1/2/2020", "3/4/2020"]),
        (["24:00", "10:00"], ["24:00", "10:00"]),
        (["NaN", "1"], [None, 1]),
        ([" NA", " x y "], [None, "x y"]),
        (['"a\nb"', '"say ""hi"", you"'], ["a\nb", 'say "hi", you']),
        (["?", "b"], ["?", "b"]),
        (["", "null"], [None, None]),
    ],
)
def test_what_text_becomes(tmp_path, cells, expected):
    source = load_csv(tmp_path, "c,other\n" + "".join(f"{cell},1\n" for cell in cells))
    assert source.table["c"].to_pylist() == expected


def test_what_reading_changed_is_noted_once_with_its_columns(tmp_path):
    source = load_csv(tmp_path, "a,b,c\n1, x,NA\n2, y,q\n")
    assert source.notes == (
        "spaces around values were stripped: b",
        "cells that say NA, null or nan are read as missing: c",
    )
    assert source.table["b"].to_pylist() == ["x", "y"]


def test_a_byte_order_mark_windows_lines_and_blank_lines_are_no_data(tmp_path):
    source = load_csv(tmp_path, b"\xef\xbb\xbf\r\nname,n\r\n\r\n\xc3\xa9,1\r\n\r\nb,2")
    assert source.table.to_pydict() == {"name": ["é", "b"], "n": [1, 2]}


def test_a_column_that_starts_with_missing_cells_is_typed_by_the_rest(tmp_path):
    source = load_csv(tmp_path, "n,day,other\n" + ",,1\n" * 1500 + "5,2020-01-01,1\n")
    assert [column.dtype for column in source.schema] == ["int64", "date32", "int64"]


def test_a_type_must_hold_for_the_last_row_too(tmp_path):
    source = load_csv(tmp_path, "n,day\n" + "5,2020-01-01\n" * 1500 + "007,y\n")
    assert [column.dtype for column in source.schema] == ["string", "string"]


def test_a_header_may_span_lines(tmp_path):
    assert load_csv(tmp_path, '\n"a\nb",c\n1,2\n').table.to_pylist() == [{"a\nb": 1, "c": 2}]


def test_a_first_line_of_numbers_is_doubted(tmp_path):
    assert load_csv(tmp_path, "39,State\n40,Other\n").notes == (
        "some column names are numbers: is the first line a header?",
    )


def test_names_stay_as_they_are(tmp_path):
    source = load_csv(tmp_path, 'a b,"x.y, z",é{}\n1,2,3\n')
    assert source.schema.names == ["a b", "x.y, z", "é{}"]


@pytest.mark.parametrize(("name", "mark"), [("d.tsv", "\t"), ("d.csv", ";"), ("d.csv", "\t"), ("d.CSV", "|")])
def test_other_separators_are_seen(tmp_path, name, mark):
    source = load(tmp_path, write(tmp_path, name, f"a{mark}b\n1{mark}x\n"))
    assert source.table.to_pylist() == [{"a": 1, "b": "x"}]
    assert bool(source.notes) == name.lower().endswith("csv")


@settings(max_examples=30, deadline=None)
@given(
    st.lists(
        st.text(st.characters(codec="utf-8", exclude_categories=["Cs", "Cc"]), max_size=8), min_size=1, max_size=20
    )
)
def test_quoted_text_comes_back_but_for_spaces_and_missing_words(tmp_path_factory, cells):
    root = tmp_path_factory.mktemp("csv")
    doubled = [cell.replace('"', '""') for cell in ["x", *cells]]
    source = load_csv(root, "c,d\n" + "".join(f'"{cell}",-\n' for cell in doubled))
    stripped = [None if cell.strip(" ") in MISSING.to_pylist() else cell.strip(" ") for cell in cells]
    assert source.table["c"].to_pylist() == ["x", *stripped]


@settings(max_examples=30, deadline=None)
@given(st.lists(st.one_of(st.none(), st.floats(allow_nan=False, allow_infinity=False)), min_size=1, max_size=20))
def test_numbers_come_back_exactly(tmp_path_factory, cells):
    root = tmp_path_factory.mktemp("csv")
    text = "".join(f"{'' if cell is None else repr(cell)},-\n" for cell in [0.5, *cells])
    assert load_csv(root, "c,d\n" + text).table["c"].to_pylist() == [0.5, *cells]


# JSON lines


def test_json_lines_keep_their_types_and_text_dates_are_told_from_datetimes(tmp_path):
    rows = [
        {"n": 1, "x": 1.5, "ok": True, "day": "2020-01-01", "at": "2020-01-01T10:00:00", "zip": "02134", "note": " NA"},
        {"n": 2, "x": None, "ok": False, "day": "2020-01-02", "at": "2020-01-01T11:00:00", "zip": "1"},
    ]
    source = load(tmp_path, write(tmp_path, "d.jsonl", "\n".join(map(json.dumps, rows)) + "\n\n"))
    assert {name: dtype for name, (_, dtype) in kinds_of(source).items()} == {
        "n": "int64",
        "x": "double",
        "ok": "bool",
        "day": "date32",
        "at": "timestamp",
        "zip": "string",
        "note": "string",
    }
    assert source.table["note"].to_pylist() == [" NA", None]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"a": 1}\n{"a": "hunter2"}\n', r"d.ndjson:2: the key a changes its type"),
        ('{"a": "hunter2"}\n{"a": \n', r"d.ndjson:2: the line is no JSON"),
        ('{"a": 1}\n["hunter2"]\n', r"d.ndjson:2: the line is no JSON object"),
        ('{"a": {"b": "hunter2"}}\n', r"d.ndjson, column a: the column holds struct<b: string>"),
        ('{"a": 1}\n{"a": 1, "b": [1]}\n', r"column b: the column holds list<item: int64>"),
        ('{"a": 1, "a": 2}\n', r"d.ndjson: the lines do not fit one table"),
        ("{}\n{}\n", r"there is no column"),
        (b'{"a": "hunter2"}\n{"a": "\xe9 hunter2"}\n', r"d.ndjson:2: the file is not UTF-8"),
    ],
)
def test_broken_json_lines(tmp_path, text, message):
    assert message in refusal(tmp_path, write(tmp_path, "d.ndjson", text))


# Parquet and types


def test_arrow_types_become_ours(tmp_path):
    table = pa.table(
        {
            "small": pa.array([1, 2, 3], pa.int8()),
            "unsigned": pa.array([1, 2, None], pa.uint32()),
            "half": pa.array([1.5, float("nan"), 2], pa.float32()),
            "money": pa.array([decimal.Decimal("1.25")] * 3),
            "large": pa.array(["x", "y", "x"], pa.large_string()),
            "code": pa.array(["x", "y", "x"]).dictionary_encode(),
            "day": pa.array([date(2020, 1, 1)] * 3, pa.date64()),
            "nano": pa.array([1, 2_000, 3], pa.timestamp("ns", "Europe/Berlin")),
            "clock": pa.array([1, 2, 3], pa.time32("s")),
            "nothing": pa.nulls(3),
        }
    )
    source = load_table(tmp_path, table)
    assert [column.dtype for column in source.schema] == [
        *("int64", "int64", "double", "double", "string", "string", "date32", "timestamp", "time64", "string")
    ]
    assert source.table["half"].to_pylist() == [1.5, None, 2.0]
    assert source.schema["nano"].timezone == "Europe/Berlin"
    assert source.notes == (
        "decimals became doubles: money",
        "times were cut to microseconds: nano",
        "every value is missing: nothing",
    )


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (pa.array([[1]]), "the column holds list<"),
        (pa.array([b"hunter2"]), "the column holds binary"),
        (pa.array([1], pa.duration("s")), "the column holds duration[s]"),
        (pa.array([2**64 - 1], pa.uint64()), "the column's uint64 does not fit int64"),
        (pa.array([float("inf"), float("-inf"), 1.0]), "2 values are infinite"),
    ],
)
def test_types_that_cannot_be_modelled(tmp_path, values, message):
    pq.write_table(pa.table({"c": values}), tmp_path / "d.parquet")
    assert f"d.parquet, column c: {message}" in refusal(tmp_path, "d.parquet")


def test_a_folder_of_parquet_is_one_table_in_name_order(tmp_path):
    (tmp_path / "d").mkdir()
    for name, first in (("b", 2), ("a", 0)):
        pq.write_table(pa.table({"n": [first, first + 1]}), tmp_path / "d" / f"{name}.parquet")
    write(tmp_path, "d/README.md", "not data")
    assert load(tmp_path, "d").table["n"].to_pylist() == [0, 1, 2, 3]
    pq.write_table(pa.table({"m": [1]}), tmp_path / "d" / "c.parquet")
    assert "d/c.parquet: its columns differ from those of a.parquet: m, n" in refusal(tmp_path, "d")


def test_broken_parquet(tmp_path):
    pq.write_table(pa.table({"n": list(range(10_000))}), tmp_path / "d.parquet")
    whole = (tmp_path / "d.parquet").read_bytes()
    damaged = whole[:100] + b"\xff" * 2000 + whole[2100:]
    for content in (whole[: len(whole) // 2], whole[:-4] + b"xxxx", damaged, b"PAR1", b"name,n\n"):
        write(tmp_path, "d.parquet", content)
        assert "d.parquet: the parquet file is truncated or broken" in refusal(tmp_path, "d.parquet")


def test_parquet_with_text_in_another_encoding_is_broken(tmp_path):
    latin = pa.StringArray.from_buffers(1, pa.py_buffer(np.array([0, 1], np.int32)), pa.py_buffer(b"\xe9"))
    pq.write_table(pa.table({"c": latin}), tmp_path / "d.parquet")
    assert "d.parquet: the parquet file is truncated or broken" in refusal(tmp_path, "d.parquet")


# Broken files


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "d.csv: the file is empty"),
        ("\n\n", "d.csv: there is no column"),
        ("a,b\n", "d.csv: there are columns and no rows"),
        ("a,b\n1,2\n1,hunter2,3\n", "d.csv:3: a row has 3 fields and the header 2"),
        ("a,b\n1,2\n\nhunter2\n", "d.csv:4: a row has 1 fields and the header 2"),
        ('a,b\n"x\ny",2\n"hunter2,2\n', "d.csv:4: a quoted field does not end"),
        ("a,a\n1,2\n", "d.csv: two columns are named a"),
        ("a,,b\n1,2,3\n", "d.csv: column 2 has no name"),
        ("a,_row_id\n1,2\n", "d.csv: the column name _row_id is reserved"),
        (b"a,b\n1,2\nhunter2 \xe9,2\n", "d.csv:3: the file is not UTF-8"),
        ("a,b\n1,2\n".encode("utf-16"), "iconv -f UTF-16"),
        (b"\xe9,b\n1,2\n", "d.csv:1: the file is not UTF-8"),
        ("a,b\n1,inf\n", "column b: 1 values are infinite"),
        ('a,b\n1,"' + "hunter2\n" * 3_000_000, "a quoted field does not end"),
    ],
)
def test_broken_csv(tmp_path, content, message):
    assert message in refusal(tmp_path, write(tmp_path, "d.csv", content))


def test_paths_that_lead_nowhere(tmp_path):
    write(tmp_path, "data/adult.csv", "a\n1\n")
    assert "data/adlut.csv: there is no such file\n  did you mean adult.csv?" in refusal(tmp_path, "data/adlut.csv")
    write(tmp_path, "adult.xlsx", "x")
    assert "files that end with .xlsx cannot be read" in refusal(tmp_path, "adult.xlsx")
    write(tmp_path, "d.csv.gz", gzip.compress(b"a\n1\n"))
    assert "files that end with .gz cannot be read" in refusal(tmp_path, "d.csv.gz")
    assert "the folder holds neither images nor parquet files" in refusal(tmp_path, "data")
    for uri in ("a\0b.csv", "a" * 5000 + ".csv"):
        assert "this is no path" in refusal(tmp_path, uri)
    for uri in ("s3://bucket/a.csv", "https://example.org/a.csv", "openml:adult"):
        assert "sources are not supported" in refusal(tmp_path, uri)


def test_no_path_leaves_the_workspace_but_into_an_allowed_folder(tmp_path):
    root, other = tmp_path / "workspace", tmp_path / "other"
    write(root, "in.csv", "a\n1\n")
    write(other, "out.csv", "a\n2\n")
    (root / "link.csv").symlink_to(other / "out.csv")
    (root / "inner.csv").symlink_to(root / "in.csv")
    for uri in ("../other/out.csv", str(other / "out.csv"), "link.csv", "/dev/zero"):
        assert f"{uri}: the path leads outside the workspace" in refusal(root, uri)
    assert load(root, "inner.csv").table["a"].to_pylist() == [1]
    opened = read("link.csv", root=root, overrides={}, target=None, allowed=[other])
    assert opened.table["a"].to_pylist() == [2]


def test_no_image_leads_out_of_the_workspace(tmp_path):
    root = tmp_path / "workspace"
    write(root, "pets/cat/a.png", png())
    write(tmp_path, "other/b.png", png())
    (root / "pets/cat/b.png").symlink_to(tmp_path / "other/b.png")
    assert "pets/cat/b.png: the path leads outside the workspace" in refusal(root, "pets")
    assert read("pets", root=root, overrides={}, target=None, allowed=[tmp_path / "other"]).table.num_rows == 2


# Images


def test_labels_are_the_subfolders(tmp_path):
    for name, shade in (("cat/1.png", 10), ("dog/1.png", 20), ("cat/2.PNG", 30), (".cache/x.png", 0)):
        write(tmp_path, f"pets/{name}", png(shade))
    write(tmp_path, "pets/README.md", "about")
    source = load(tmp_path, "pets", target="label")
    assert kinds_of(source) == {"image": ("image", "image"), "label": ("category", "string")}
    assert source.table["label"].to_pylist() == ["cat", "cat", "dog"]
    assert source.table["image"].to_pylist()[2] == {"bytes": png(20), "path": "dog/1.png"}
    assert source.notes == ("1 files in the folder are no images and were left out",)
    assert source.schema.modality == "image"


@pytest.mark.parametrize("listing", ["pets/labels.csv", "pets.csv"])
def test_labels_are_a_csv_in_or_beside_the_folder(tmp_path, listing):
    write(tmp_path, "pets/a.png", png(1))
    write(tmp_path, "pets/sub/b.png", png(2))
    write(tmp_path, listing, "file_name,kind,age\nsub/b.png,dog,3\na.png,cat,5\n")
    source = load(tmp_path, "pets")
    assert [cell["bytes"] for cell in source.table["image"].to_pylist()] == [png(2), png(1)]
    assert source.table.drop_columns("image").to_pydict() == {"kind": ["dog", "cat"], "age": [3, 5]}


def test_images_without_labels_are_a_source(tmp_path):
    write(tmp_path, "pets/a.png", png())
    source = load(tmp_path, "pets")
    assert source.schema.names == ["image"]
    assert source.notes == ("the images have no labels",)


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"cat/a.png": png(), "cat/b.png": png(side=64)[:60]}, "pets/cat/b.png: the image is truncated or broken"),
        ({"cat/a.png": b"hunter2"}, "pets/cat/a.png: the image is truncated, broken, or none of PNG"),
        ({"cat/a.png": png(side=4200)}, "pets/cat/a.png: the image claims 4200 x 4200 pixels"),
        ({"cat/a.png": png(), "b.png": png()}, "some images lie in a label's folder and some beside"),
        ({"cat/a.txt": b"x"}, "the folder holds neither images nor parquet files"),
        (
            {"a.png": png(), "l.csv": b"file_name,l\na.png,x\nb.png,y\n"},
            "pets/l.csv: row 2 names an image that is not there",
        ),
        ({"a.png": png(), "l.csv": b"file_name,l\n../../secret.png,x\n"}, "the path leads outside the workspace"),
        ({"a.png": png(), "l.csv": b"picture,l\na.png,x\n"}, "0 columns could hold the images' file names"),
        ({"a.png": png(), "l.csv": b"file_name,l\n"}, "no rows"),
        ({"a.png": png(), "l.csv": b"a\n1\n", "m.csv": b"a\n1\n"}, "several csv files"),
    ],
)
def test_broken_image_folders(tmp_path, files, message):
    for name, content in files.items():
        write(tmp_path, f"pets/{name}", content)
    assert message in refusal(tmp_path, "pets")


def test_images_in_parquet_are_checked_by_row(tmp_path):
    cells = [{"bytes": png(1), "path": None}, {"bytes": png(2)[:50], "path": None}]
    for bad, message in ((cells[1], "row 2: the image is truncated"), (None, "row 2: a row holds no image bytes")):
        pq.write_table(pa.table({"image": pa.array([cells[0], bad], IMAGE_TYPE)}), tmp_path / "d.parquet")
        assert message in refusal(tmp_path, "d.parquet")


# Bundled data


@pytest.mark.parametrize(
    ("uri", "rows", "columns", "target", "kind"),
    [
        ("sklearn:digits", 1797, 2, "label", "category"),
        ("sklearn:iris", 150, 5, "target", "category"),
        ("sklearn:breast_cancer", 569, 31, "target", "category"),
        ("sklearn:diabetes", 442, 11, "target", "number"),
        ("statsmodels:fair", 6366, 9, "yrs_married", "number"),
        ("statsmodels:randhie", 20190, 10, "mdvis", "integer"),
    ],
)
def test_bundled_data(tmp_path, uri, rows, columns, target, kind):
    source = load(tmp_path, uri, target)
    assert (source.table.num_rows, len(source.schema)) == (rows, columns)
    assert source.schema[target].kind == kind
    assert not is_file_source(uri)


@pytest.mark.parametrize("uri", ["sklearn:mnist", "statsmodels:utils", "statsmodels:../fair", "sklearn:"])
def test_only_data_of_the_package_is_read(tmp_path, uri):
    assert "brings no such data" in refusal(tmp_path, uri)


def test_digits_keep_all_of_their_ink(tmp_path):
    from sklearn.datasets import load_digits

    from synthmill.pixels import decode_image

    source = load(tmp_path, "sklearn:digits")
    pixels = np.stack([np.asarray(decode_image(cell["bytes"])) for cell in source.table["image"].to_pylist()])
    assert np.array_equal(np.round(pixels / 255 * 16), load_digits().images)


# Kinds


def numbered(**columns: list) -> pa.Table:
    return pa.table(columns)


@pytest.mark.parametrize(
    ("name", "cells", "kind"),
    [
        ("c", list(range(100, 130)), "id"),  # running
        ("customer_id", [7, 3, 900, 12], "id"),
        ("orderId", [7, 3, 900, 12], "id"),
        ("paid", [7, 3, 900, 12], "integer"),
        ("customer_id", [7, 3, 7, 12], "integer"),
        ("year", [2020, 2021, 2021, 2023], "integer"),
        ("flag", [0, 1, 1, 0], "category"),
        ("code", ["a1", "b2", "c3", "d4"], "id"),
        ("code", ["a1", "b2", "c3", "c3"], "category"),
        ("code", ["a1", "b2", "c3", None], "id"),
        ("note", [f"a rather long sentence that nobody wrote twice, number {i}" for i in range(4)], "text"),
        ("plan", ["a rather long name of a plan of which there are few", "b"] * 9, "category"),
        ("x", [1.0, 2.0, 3.0, 4.0], "number"),
    ],
)
def test_kinds_are_inferred(tmp_path, name, cells, kind):
    assert load_table(tmp_path, numbered(**{name: cells})).schema[name].kind == kind


@pytest.mark.parametrize(
    ("cells", "kind"),
    [
        (list(range(10)) * 3, "category"),
        (list(range(30)), "integer"),
        (["a", "b", "c"], "category"),
        ([1.0, 2.0], "number"),
    ],
)
def test_a_target_is_never_an_id(tmp_path, cells, kind):
    assert load_table(tmp_path, numbered(y=cells), target="y").schema["y"].kind == kind


@pytest.mark.parametrize(
    ("cells", "kind", "expected"),
    [
        (["007", "8"], "integer", [7, 8]),
        (["007.5", "8"], "number", [7.5, 8.0]),
        ([1, 2, 3], "number", [1.0, 2.0, 3.0]),
        ([1.0, None, 3.0], "integer", [1, None, 3]),
        ([1.0, 2.0], "category", [1, 2]),
        ([10001, 10002], "category", [10001, 10002]),
        ([0, 1, None], "boolean", [False, True, None]),
        ([datetime(2020, 1, 1), datetime(2020, 1, 2)], "date", [date(2020, 1, 1), date(2020, 1, 2)]),
        ([date(2020, 1, 1)], "datetime", [datetime(2020, 1, 1)]),
        (["a", "b"], "text", ["a", "b"]),
        ([12, None], "text", ["12", None]),
        ([3, 4], "id", [3, 4]),
        ([True, False], "integer", [1, 0]),
    ],
)
def test_an_override_converts_without_loss(tmp_path, cells, kind, expected):
    source = load_table(tmp_path, numbered(c=cells), c=kind)
    assert source.schema["c"].kind == kind
    assert source.table["c"].to_pylist() == expected
    assert source.table.schema == source.schema.arrow


@pytest.mark.parametrize(
    ("cells", "kind", "message"),
    [
        (["1", "hunter2", "hunter2", None], "number", "2 of 4 rows do not read as number"),
        (["1.5", "2"], "integer", "1 of 2 rows do not read as integer"),
        (["2020-01-01", "hunter2"], "date", "1 of 2 rows do not read as date"),
        (["hunter2"], "time", "1 of 1 rows do not read as time"),
        ([1.5, 2.0], "integer", "the column holds double, which cannot be of kind integer"),
        ([1.5, 2.0], "category", "cannot be of kind category"),
        ([0, 2], "boolean", "cannot be of kind boolean"),
        ([datetime(2020, 1, 1, 5)], "date", "cannot be of kind date"),
        ([date(2020, 1, 1)], "number", "cannot be of kind number"),
        ([1, 2], "image", "cannot be of kind image"),
        (["hunter2"], "image", "cannot be of kind image"),
        ([2**53 + 1], "number", "cannot be of kind number"),
    ],
)
def test_an_impossible_override_counts_rows_and_shows_none(tmp_path, cells, kind, message):
    pq.write_table(numbered(c=cells), tmp_path / "d.parquet")
    text = refusal(tmp_path, "d.parquet", c=kind)
    assert text.startswith("source.columns.c: ")
    assert message in text


def test_columns_that_do_not_exist_are_recipe_errors(tmp_path):
    write(tmp_path, "d.csv", "age,income\n1,2\n")
    assert "source.columns.agee: the source has no column agee\n  did you mean age?" in refusal(
        tmp_path, "d.csv", RecipeError, agee="number"
    )
    assert "source.target: the source has no column incme" in refusal(tmp_path, "d.csv", RecipeError, target="incme")
    assert "which nothing can be measured on" in refusal(tmp_path, "d.csv", RecipeError, target="age", age="id")


def test_a_description_counts_and_shows_no_cell(tmp_path):
    source = load_csv(tmp_path, "n,code\n1,hunter2\n2,hunter2\n,x\n4,\n", target="code")
    n, code = describe(source.schema, source.table)
    assert (n.kind, n.missing, n.distinct, n.is_target) == ("integer", 0.25, 3, False)
    assert (code.kind, code.missing, code.distinct, code.is_target) == ("category", 0.25, 2, True)
    assert SECRET not in repr([n, code])
    assert str(n) == "n: integer (int64), 3 values, 25.0% missing"
    assert str(code) == "code: category (string), 2 values, 25.0% missing, target"
