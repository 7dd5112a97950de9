"""Files of any size under the schema of a source."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
from support.tables import MIXED, mixed

from synthmill.errors import SourceError
from synthmill.sources import stream as module
from synthmill.sources.stream import other_columns, stream

ROWS = 500


def write(folder, kind, table):
    path = folder / f"rows.{kind}"
    match kind:
        case "csv":
            pyarrow.csv.write_csv(table, path)
        case "tsv":
            pyarrow.csv.write_csv(table, path, pyarrow.csv.WriteOptions(delimiter="\t"))
        case "jsonl":
            path.write_text("".join(json.dumps(row, default=str) + "\n" for row in table.to_pylist()))
        case "parquet":
            pq.write_table(table, path, row_group_size=100)
    return path.name


def read(name, folder, schema=MIXED):
    return pa.concat_tables(stream(name, schema, root=folder))


@pytest.mark.parametrize("kind", ["csv", "tsv", "jsonl", "parquet"])
def test_every_format_gives_the_same_rows_whatever_the_order_of_columns(tmp_path, kind):
    table = mixed(ROWS)
    name = write(tmp_path, kind, table.select(table.column_names[::-1]).append_column("more", pa.array(range(ROWS))))
    assert read(name, tmp_path).equals(table)
    assert other_columns(name, MIXED, root=tmp_path) == ["more"]


def test_large_files_come_in_pieces(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_BATCH_ROWS", 64)
    pieces = list(stream(write(tmp_path, "parquet", mixed(ROWS)), MIXED, root=tmp_path))
    assert max(piece.num_rows for piece in pieces) <= 64
    assert pa.concat_tables(pieces).equals(mixed(ROWS))


def test_a_folder_of_parquet_and_a_release_are_read_in_the_order_of_names(tmp_path):
    table = mixed(ROWS)
    for number, start in enumerate((0, 300)):
        (tmp_path / "release/data").mkdir(parents=True, exist_ok=True)
        pq.write_table(table.slice(start, 300), tmp_path / f"release/data/rows-{number}.parquet")
    assert read("release", tmp_path).equals(table)
    assert read("release/data", tmp_path).equals(table)


def test_other_types_of_the_same_values_fit(tmp_path):
    """Dictionaries, narrow numbers, NaN for missing, and integers that pandas made floats."""
    table = mixed(ROWS)
    income = np.where(table["income"].is_null(), np.nan, table["income"].fill_null(0).to_numpy())
    other = pa.table(
        {
            "age": table["age"].cast(pa.float64()),
            "income": income,
            "city": table["city"].dictionary_encode(),
            "member": table["member"],
            "since": table["since"].cast(pa.timestamp("ns")),
        }
    )
    assert read(write(tmp_path, "parquet", other), tmp_path).equals(table)


def test_whole_numbers_written_as_fractions_are_integers(tmp_path):
    (tmp_path / "rows.csv").write_text(
        "age,income,city,member,since\n39.0, 1 ,Oslo,true,NA\n40.0,,Pisa,false,2020-01-31\n"
    )
    table = read("rows.csv", tmp_path)
    assert table["age"].to_pylist() == [39, 40]
    assert table["income"].to_pylist() == [1.0, None]
    assert table["since"].null_count == 1


def test_text_that_looks_like_numbers_stays_text_in_a_column_of_text(tmp_path):
    (tmp_path / "rows.csv").write_text("age,income,city,member,since\n39,1,007,true,\n")
    assert read("rows.csv", tmp_path)["city"].to_pylist() == ["007"]


def test_what_does_not_fit_is_counted_over_the_whole_file(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_BATCH_ROWS", 100)
    age = mixed(ROWS)["age"].to_numpy().astype(float)
    age[[3, 250, 480]] += 0.5
    table = mixed(ROWS).set_column(0, "age", pa.array(age)).set_column(4, "since", pa.array(["soon"] * ROWS))
    with pytest.raises(SourceError, match="column age does not hold int64 as in the source in 3 of 500 rows") as error:
        read(write(tmp_path, "parquet", table), tmp_path)
    assert "column since does not hold date32 as in the source in 500 of 500 rows" in error.value.what
    assert "soon" not in str(error.value)


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
def test_a_missing_column_is_named(tmp_path, kind):
    name = write(tmp_path, kind, mixed(ROWS).drop_columns(["city", "member"]))
    with pytest.raises(SourceError, match=r"it has no column city \(nor member\)"):
        read(name, tmp_path)


def test_a_key_that_some_lines_lack_is_missing_there(tmp_path):
    lines = [{"age": 30, "city": "Oslo", "member": True, "income": 1.5}, {"age": 31, "since": "2020-01-31"}]
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, lines)))
    table = read("rows.jsonl", tmp_path)
    assert table["city"].to_pylist() == ["Oslo", None]
    assert table["since"].null_count == 1


def test_broken_and_empty_files_are_errors(tmp_path):
    (tmp_path / "rows.parquet").write_bytes(b"PAR1 and no more")
    with pytest.raises(SourceError, match="truncated or broken"):
        read("rows.parquet", tmp_path)
    pq.write_table(mixed(ROWS).slice(0, 0), tmp_path / "empty.parquet")
    with pytest.raises(SourceError, match="no rows"):
        read("empty.parquet", tmp_path)
    (tmp_path / "rows.csv").write_text("age,income,city,member,since\n39,1,Oslo,true,\n39,1,Oslo\n")
    with pytest.raises(SourceError, match="a row has 3 fields and the header 5"):
        read("rows.csv", tmp_path)
