"""Files of rows to complete: which columns they may have, and what is said of a label that nobody can complete."""

import json
from datetime import date

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
from support.tables import MIXED, mixed

from synthmill.columns import Domain, Schema
from synthmill.errors import SourceError
from synthmill.sources.partial import known_labels, open_partial, refuse_unknown, survey

GIVABLE = {"age", "income", "city", "since"}


def written(folder, suffix, table):
    path = folder / f"rows{suffix}"
    match suffix:
        case ".parquet":
            pq.write_table(table, path, row_group_size=7)
        case ".jsonl":
            lines = ({k: v for k, v in row.items() if v is not None} for row in table.to_pylist())
            path.write_text("".join(json.dumps(line, default=str) + "\n" for line in lines))
        case _:
            options = pyarrow.csv.WriteOptions(delimiter="\t" if suffix == ".tsv" else ",")
            pyarrow.csv.write_csv(table, path, options)
    return path


def gaps_of(path, schema=MIXED, givable=GIVABLE):
    file = open_partial(path, schema, givable)
    return survey(file, known_labels(file.schema, mixed()), schema)


each_format = pytest.mark.parametrize("suffix", [".csv", ".tsv", ".jsonl", ".parquet"])


@each_format
def test_every_format_has_the_same_gaps(tmp_path, suffix):
    table = pa.table({"city": ["Oslo", None, "Pisa"] * 10, "age": pa.array([30, 40, None] * 10)})
    path = written(tmp_path, suffix, table)
    file, gaps = open_partial(path, MIXED, GIVABLE), gaps_of(path)
    assert (gaps.rows, gaps.whole, gaps.empty) == (30, 0, {"age": 10, "city": 10})
    assert file.schema.names == ["age", "city"]
    assert pa.concat_tables(file.pieces()).equals(table.select(["age", "city"]))


@each_format
def test_labels_that_train_never_had_are_counted_by_column_and_not_told(tmp_path, suffix):
    rows = {"city": ["Oslo"] * 16 + ["Atlantis", "Atlantis", None], "since": [date(1999, 1, 1)] * 18 + [None]}
    path = written(tmp_path, suffix, pa.table(rows))
    gaps = gaps_of(path)
    assert (gaps.unknown.rows, gaps.unknown.first, gaps.unknown.columns) == (2, 17, {"city": 2})
    with pytest.raises(
        SourceError, match=r"2 of 19 rows, the first of them row 17, .* by column: city \(2\)"
    ) as caught:
        refuse_unknown(open_partial(path, MIXED, GIVABLE), gaps)
    assert "--unknown keep" in caught.value.hint
    assert "Atlantis" not in str(caught.value)


def test_a_row_that_lacks_nothing_may_have_any_label(tmp_path):
    path, table = tmp_path / "rows.parquet", mixed(40)
    cities = pa.array(["Atlantis"] * 40)
    pq.write_table(table.set_column(table.column_names.index("city"), "city", cities), path)
    gaps = gaps_of(path, givable=set(MIXED.names))
    lacking = table.drop(["city"]).to_pandas().isna()
    assert gaps.unknown.rows == lacking.any(axis=1).sum() > 0
    assert gaps.unknown.empty == lacking.sum().sum()
    assert gaps.whole == 40 - gaps.unknown.rows > 0


def test_whole_rows_are_counted_where_no_column_is_missing(tmp_path):
    path, table = tmp_path / "rows.parquet", mixed(40)
    pq.write_table(table, path)
    gaps = gaps_of(path, givable=set(MIXED.names))
    assert gaps.whole == len(table.to_pandas().dropna()) < 40


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ({"citty": ["Oslo"]}, "the source has no column citty\n  did you mean city?"),
        ({"member": [True]}, "cannot be given the column member\n  leave it out; it takes age, income, city, since"),
        ({"age": ["young"]}, "column age does not hold int64 as in the source in 1 of 1 rows"),
    ],
)
def test_columns_that_cannot_be_given_are_refused(tmp_path, table, words):
    with pytest.raises(SourceError) as caught:
        gaps_of(written(tmp_path, ".csv", pa.table(table)))
    assert words in str(caught.value)


def test_a_key_that_only_later_lines_have_is_a_column_too(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text(f'{{"age": 30{" " * 1000}}}\n' * 20_000 + '{"age": 31, "city": "Riga"}\n')
    assert path.stat().st_size > 1 << 24
    assert open_partial(path, MIXED, GIVABLE).schema.names == ["age", "city"]
    assert gaps_of(path).empty == {"age": 0, "city": 20_000}


def test_other_files_are_refused(tmp_path):
    (tmp_path / "rows.xlsx").write_text("no table")
    with pytest.raises(SourceError, match="not read from this"):
        gaps_of(tmp_path / "rows.xlsx")
    (tmp_path / "empty.csv").write_text("age,city\n")
    with pytest.raises(SourceError, match="no rows"):
        gaps_of(tmp_path / "empty.csv")


def test_a_label_that_the_recipe_describes_is_known_without_a_train_row(tmp_path):
    domain = Domain(values=("Oslo", "Pisa", "Riga", "Atlantis"))
    columns = tuple(c.model_copy(update={"domain": domain}) if c.name == "city" else c for c in MIXED)
    described = Schema(columns=columns)
    path = written(tmp_path, ".csv", pa.table({"city": ["Atlantis"]}))
    assert gaps_of(path, described).unknown.rows == 0
