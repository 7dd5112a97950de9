"""What a dataset says of itself to other programs: its card, its Croissant and its Parquet files, made here without a fit."""

import datetime
import logging

import mlcroissant
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from huggingface_hub import DatasetCard

from synthmill.columns import PROVENANCE, Column, Schema
from synthmill.outcome import Scored
from synthmill.plan import make_plan
from synthmill.report.card import make_card
from synthmill.report.croissant import make_croissant
from synthmill.report.licence import Licence
from synthmill.spec import Recipe
from synthmill.store.assemble import file_name, writer
from synthmill.store.marks import mark

ODD = ['a"b', "../../etc", "<script>", "é😀", "a,b c", "100%", "x:y#z"]
DAY = datetime.date(2024, 2, 29)
CELLS = {
    "double": [0.5, 1.5],
    "int64": [1, 2],
    "bool": [True, False],
    "string": ["Oslo", "Riga"],
    "date32": [DAY, DAY],
    "timestamp": [datetime.datetime(2024, 2, 29, 12, 30), datetime.datetime(2024, 3, 1)],
    "time64": [datetime.time(12, 30), datetime.time(1)],
}
SCHEMA = Schema(
    columns=(
        *(Column(name=f"of {dtype}", kind="category", dtype=dtype) for dtype in CELLS),
        *(Column(name=name, kind="integer", dtype="int64") for name in ODD),
    )
)
OPTIONS = {
    "licence": "CC-BY-4.0",
    "description": "Two rows.",
    "intended_use": "Tests: of\n---\nmetadata.",
    "limits": "Two rows are few.",
}
PROVIDED = {"_row_id": ["a", "b"], "_generator": ["g", "g"], "_stratum": ["0:all", "0:all"], "_candidate": [0, 1]}


def rows_of(schema: Schema, count: int = 2) -> pa.Table:
    cells = {column.name: (CELLS[column.dtype] * count)[:count] for column in schema}
    return pa.table(cells).cast(schema.arrow)


@pytest.fixture
def plan():
    recipe = {"dataset": "odd", "source": {"path": "odd.csv"}, "jobs": [{"generator": "table/vae", "rows": 4}]}
    real = rows_of(SCHEMA, 40)
    return make_plan(Recipe.model_validate({**recipe, "release": OPTIONS}, strict=False), SCHEMA, real, real, real)


@pytest.fixture
def folder(plan, tmp_path):
    """Two files of two rows with card and Croissant."""
    (tmp_path / "data").mkdir()
    rows = pa.table({**rows_of(SCHEMA).to_pydict(), **PROVIDED}, schema=None)
    rows = rows.cast(pa.schema([*SCHEMA.arrow, *(rows.schema.field(name) for name in PROVENANCE)]))
    files = [tmp_path / "data" / file_name(number, 2) for number in range(2)]
    for path in files:
        with writer(path, rows.schema, "odd") as file:
            file.write_table(rows)
    (tmp_path / "croissant.json").write_text(make_croissant(plan, tmp_path, files))
    (tmp_path / "README.md").write_text(make_card(plan, ((),), Scored(scores=(), by_job=(), gates=())))
    return tmp_path


def test_croissant_is_valid_and_reads_every_cell(folder, caplog):
    with caplog.at_level(logging.WARNING):
        found = mlcroissant.Dataset(folder / "croissant.json")
    issues = found.metadata.ctx.issues
    assert issues.errors == set()
    # The version is the git tag and its date the tag's, so that equal plans give equal bytes.
    assert {warning.split('"')[1].rpartition("/")[2] for warning in issues.warnings} == {
        "citeAs",
        "datePublished",
        "version",
    }
    assert not [record for record in caplog.records if "@context" in record.getMessage()]
    records = list(found.records("rows"))
    assert len(records) == 4
    expected = {**rows_of(SCHEMA).to_pylist()[1], **{name: cells[1] for name, cells in PROVIDED.items()}}
    cells = dict(zip(expected, records[3].values(), strict=True))
    assert {name: cell.decode() if isinstance(cell, bytes) else cell for name, cell in cells.items()} == {
        **expected,
        "of date32": pd.Timestamp(DAY),
    }


def test_croissant_says_what_the_recipe_says(folder):
    metadata = mlcroissant.Dataset(folder / "croissant.json").metadata
    assert metadata.license == ["https://spdx.org/licenses/CC-BY-4.0.html"]
    assert (metadata.data_use_cases, metadata.data_limitations) == (
        ["Tests: of\n---\nmetadata."],
        ["Two rows are few."],
    )
    assert "synthetic" in metadata.keywords
    assert metadata.data_collection.startswith("Synthetic")


def test_card_says_what_the_recipe_says(folder):
    card = DatasetCard.load(folder / "README.md")
    assert (card.data.license, card.data.tags, card.data.pretty_name) == (
        "cc-by-4.0",
        ["synthetic", "synthmill"],
        "odd",
    )
    assert "## Intended use\n\nTests: of\n---\nmetadata.\n" in card.text
    assert "\n\nTwo rows are few.\n\n## Licence\n\n[CC-BY-4.0](https://spdx.org/licenses/CC-BY-4.0.html)\n" in card.text
    assert "**Every row in `data/` is synthetic**" in card.text


@pytest.mark.parametrize(
    ("words", "front_matter", "url"),
    [
        ("", {"license": "unknown"}, None),
        ("cc0-1.0", {"license": "cc0-1.0"}, "https://spdx.org/licenses/CC0-1.0.html"),
        ("ODbL-1.0", {"license": "odbl"}, "https://spdx.org/licenses/ODbL-1.0.html"),
        ("GPL-3.0-or-later", {"license": "gpl-3.0"}, "https://spdx.org/licenses/GPL-3.0-or-later.html"),
        ("MIT OR Apache-2.0", {"license": "other", "license_name": "mit-or-apache-2.0"}, None),
        (
            "https://x.org/Terms",
            {"license": "other", "license_name": "https-x.org-terms", "license_link": "https://x.org/Terms"},
            "https://x.org/Terms",
        ),
        ("Mine: all [rights]", {"license": "other", "license_name": "mine-all-rights"}, None),
    ],
)
def test_licence_in_the_words_of_its_readers(words, front_matter, url):
    assert (Licence(words).front_matter, Licence(words).url) == (front_matter, url)


@pytest.mark.parametrize("is_synthetic", [True, False])
def test_each_column_says_whether_it_is_synthetic(is_synthetic):
    marked = mark(SCHEMA.arrow, "odd", is_synthetic=is_synthetic)
    word = b"true" if is_synthetic else b"false"
    assert {field.metadata[b"synthetic"] for field in marked} == {word}
    assert marked.metadata[b"synthmill"] == b'{"dataset": "odd", "format": 2, "synthetic": ' + word + b"}"
    assert marked.equals(SCHEMA.arrow)


def test_the_marks_are_in_the_file(folder):
    schema = pq.read_schema(next(folder.glob("data/*.parquet")))
    assert {field.metadata[b"synthetic"] for field in schema} == {b"true"}
    assert b"synthetic" in schema.metadata[b"synthmill"]
