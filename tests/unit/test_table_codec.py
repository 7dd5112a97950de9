"""decode(encode(rows)) is the rows again, whatever they hold; and what a generator makes stays in train's shape."""

from __future__ import annotations

import dataclasses
import datetime as dt
import hashlib
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import kstest, norm

from synthmill.codecs.table import EncodedTable, TableCodec
from synthmill.columns import Column, Schema
from synthmill.errors import SourceError

CELLS = {
    ("number", "double"): st.floats(-1e300, 1e300),
    ("integer", "int64"): st.integers(-(2**63), 2**63 - 1),
    ("boolean", "bool"): st.booleans(),
    ("category", "string"): st.text(max_size=5),
    ("category", "int64"): st.integers(-(2**63), 2**63 - 1),
    ("category", "double"): st.floats(-1e300, 1e300),
    ("date", "date32"): st.dates(),
    ("category", "date32"): st.dates(),
    ("datetime", "timestamp"): st.datetimes(timezones=st.just(dt.UTC)),
    ("time", "time64"): st.times(),
}


@st.composite
def tables(draw: st.DrawFn) -> tuple[pa.Table, Schema]:
    kinds = draw(st.lists(st.sampled_from(list(CELLS)), min_size=1, max_size=4))
    names = draw(st.lists(st.text(max_size=4), min_size=len(kinds), max_size=len(kinds), unique=True))
    rows = draw(st.integers(1, 40))
    columns, arrays = [], []
    for (kind, dtype), name in zip(kinds, names, strict=True):
        column = Column(name=name, kind=kind, dtype=dtype, timezone="UTC" if dtype == "timestamp" else None)
        pool = draw(st.lists(st.none() | CELLS[kind, dtype], min_size=1, max_size=rows))
        columns.append(column)
        arrays.append(pa.array([pool[i % len(pool)] for i in range(rows)], type=column.arrow))
    schema = Schema(columns=tuple(columns))
    return pa.Table.from_arrays(arrays, schema=schema.arrow), schema


def one(kind: str, dtype: str, cells: list[object] | np.ndarray, name: str = "x") -> tuple[pa.Table, Schema]:
    column = Column(name=name, kind=kind, dtype=dtype, timezone="UTC" if dtype == "timestamp" else None)  # type: ignore[arg-type]
    schema = Schema(columns=(column,))
    return pa.Table.from_arrays([pa.array(cells, type=schema["x"].arrow)], schema=schema.arrow), schema


def without_rest(encoded: EncodedTable) -> EncodedTable:
    return dataclasses.replace(encoded, rest=None)


@settings(max_examples=300, deadline=None)
@given(tables())
def test_decode_of_encode_is_the_table(table_and_schema: tuple[pa.Table, Schema]) -> None:
    table, schema = table_and_schema
    codec = TableCodec.fit(table, schema)
    encoded = codec.encode(table)
    assert codec.decode(encoded).equals(table)
    assert all(encoded.codes[:, j].max() < part.size for j, part in enumerate(codec.parts))
    assert (encoded.codes >= 0).all()
    assert torch.isfinite(encoded.values).all()


@pytest.mark.parametrize(("kind", "dtype"), [k for k in CELLS if k[0] not in ("category", "boolean")])
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_numbers_that_train_lacks_are_exact_all_the_same(kind: str, dtype: str, data: st.DataObject) -> None:
    cells = st.lists(CELLS[kind, dtype], min_size=1, max_size=40)
    train, schema = one(kind, dtype, data.draw(cells))
    unseen, _ = one(kind, dtype, data.draw(cells))
    codec = TableCodec.fit(train, schema)
    assert codec.decode(codec.encode(unseen)).equals(unseen)


def test_continuous_doubles_need_no_rest() -> None:
    draws = np.random.default_rng(0).lognormal(size=5_000)
    codec = TableCodec.fit(*one("number", "double", draws[:4_000]))
    inside = draws[4_000:].clip(draws[:4_000].min(), draws[:4_000].max())
    table, _ = one("number", "double", inside)
    near = codec.decode(without_rest(codec.encode(table)))["x"].to_numpy()
    assert np.abs(near - inside).max() < 1e-9 * np.ptp(draws)


def test_large_integers_need_no_rest_within_a_narrow_range() -> None:
    cells = 10**15 + np.random.default_rng(0).integers(0, 10**6, 3_000)
    table, schema = one("integer", "int64", cells)
    codec = TableCodec.fit(table, schema)
    assert codec.decode(without_rest(codec.encode(table))).equals(table)


def test_scores_are_standard_normal_and_monotone() -> None:
    draws = np.random.default_rng(1).exponential(size=4_000)
    table, schema = one("number", "double", draws)
    scores = TableCodec.fit(table, schema).encode(table).values[:, 0].numpy()
    assert kstest(scores, norm.cdf).statistic < 0.01
    assert (np.diff(scores[np.argsort(draws)]) >= 0).all()


def test_made_numbers_keep_bounds_decimals_and_grid() -> None:
    random = np.random.default_rng(2)
    schema = Schema(
        columns=(
            Column(name="price", kind="number", dtype="double"),
            Column(name="fives", kind="integer", dtype="int64"),
        )
    )
    price, fives = random.normal(20, 9, 3_000).round(2), 5 * random.integers(-400, 10**6, 3_000) + 3
    codec = TableCodec.fit(pa.table({"price": price, "fives": fives}), schema)
    codes = torch.tensor([[part.free for part in codec.parts]]).repeat(2_000, 1)
    values = torch.from_numpy(random.normal(0, 3, (2_000, 2)))
    made = codec.decode(EncodedTable(codes, values))
    made_price, made_fives = made["price"].to_numpy(), made["fives"].to_numpy()
    assert np.array_equal(made_price, made_price.round(2))
    assert (made_price.min(), made_price.max()) == (price.min(), price.max())
    assert ((made_fives - fives.min()) % np.gcd.reduce(fives - fives.min()) == 0).all()
    assert (made_fives.min(), made_fives.max()) == (fives.min(), fives.max())


def test_settled_cells_are_what_decoding_and_encoding_give() -> None:
    random = np.random.default_rng(6)
    cells: list[float | None] = [*random.normal(20, 9, 2_000).round(1), *[7.5] * 200, *[None] * 50]
    codec = TableCodec.fit(*one("number", "double", cells))
    codes = torch.from_numpy(random.integers(0, codec.parts[0].size, (500, 1)))
    values = torch.from_numpy(random.normal(size=(500, 1)))
    again = codec.encode(codec.decode(EncodedTable(codes, values)))
    stays = again.codes == codes  # a free score may stand for an atom's number
    settled = codec.settle(codes, values)
    assert stays.double().mean() > 0.9
    assert torch.allclose(settled[stays], again.values[stays] * (codes[stays] == codec.parts[0].free))
    assert torch.equal(codec.settle(codes, settled), settled)


def test_few_valued_numbers_and_spikes_are_atoms() -> None:
    random = np.random.default_rng(3)
    few = random.choice([0.5, 2.5, 6.0], 900)
    spiky = np.where(random.random(900) < 0.4, 0.0, random.gamma(2, 3, 900))
    schema = Schema(columns=tuple(Column(name=n, kind="number", dtype="double") for n in ("few", "spiky")))
    codec = TableCodec.fit(pa.table({"few": few, "spiky": spiky}), schema)
    assert [(part.size, part.free) for part in codec.parts] == [(3, None), (2, 1)]


def test_an_unseen_label_is_refused_without_showing_it() -> None:
    codec = TableCodec.fit(*one("category", "string", ["a", "b"]))
    with pytest.raises(SourceError) as caught:
        codec.encode(one("category", "string", ["a", "secret"])[0])
    assert "'x'" in str(caught.value)
    assert "1 rows" in str(caught.value)
    assert "secret" not in str(caught.value)


def test_a_missing_number_is_refused_where_train_has_none() -> None:
    codec = TableCodec.fit(*one("number", "double", [1.0, 2.0]))
    with pytest.raises(SourceError, match="missing"):
        codec.encode(one("number", "double", [1.0, None])[0])


@pytest.mark.parametrize("cell", [np.inf, -np.inf, 1e301])
def test_infinite_numbers_are_refused(cell: float) -> None:
    with pytest.raises(SourceError, match=r"infinite.*1 rows"):
        TableCodec.fit(*one("number", "double", [1.0, cell]))


def test_a_fill_value_far_below_all_others_is_refused_and_not_learnt() -> None:
    """Beside -1e36 the distance of 15.1 from the lowest number has no digits of 15.1."""
    column = Column(name="t", kind="number", dtype="double")
    cells = pa.array([-9.96921e36, *(15 + np.arange(400) / 37)])
    with pytest.raises(SourceError, match="so far below the others that 399 of these cannot be told apart"):
        TableCodec.fit(pa.table({"t": cells}), Schema(columns=(column,)))


def test_nan_is_missing() -> None:
    table, schema = one("number", "double", [1.0, float("nan"), 2.0])
    codec = TableCodec.fit(table, schema)
    assert codec.decode(codec.encode(table))["x"].to_pylist() == [1.0, None, 2.0]


def test_train_without_rows_is_refused_and_none_to_encode_is_fine() -> None:
    table, schema = one("number", "double", [1.0, 2.0])
    with pytest.raises(SourceError, match="no rows"):
        TableCodec.fit(table.slice(0, 0), schema)
    codec = TableCodec.fit(table, schema)
    assert codec.decode(codec.encode(table.slice(0, 0))).equals(table.slice(0, 0))


def test_text_columns_are_refused() -> None:
    with pytest.raises(SourceError, match="text"):
        TableCodec.fit(*one("text", "string", ["a long story"]))


def made_ids(cells: list[object], dtype: str, rows: int = 2_000, key: int = 5) -> list[object]:
    table, schema = one("id", dtype, cells)
    codec = TableCodec.fit(table, schema)
    encoded = EncodedTable(torch.zeros(rows, 0, dtype=torch.int64), torch.zeros(rows, 0))
    return codec.decode(encoded, key=key, candidates=np.arange(rows) + 7)["x"].to_pylist()


@settings(max_examples=100, deadline=None)
@given(st.lists(st.text(max_size=6) | st.uuids().map(str), min_size=1, max_size=20), st.integers(0, 2**64 - 1))
def test_made_string_ids_are_distinct_and_not_of_train(cells: list[str], key: int) -> None:
    made = made_ids(cells, "string", rows=200, key=key)
    assert len(set(made)) == 200
    assert not set(made) & set(cells)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(-(2**63), 2**63 - 1 - 2**54), min_size=1), st.integers(0, 2**64 - 1))
def test_made_integer_ids_are_distinct_and_not_of_train(cells: list[int], key: int) -> None:
    made = made_ids(cells, "int64", rows=200, key=key)
    assert len(set(made)) == 200
    assert not set(made) & set(cells)


def test_string_ids_step_over_those_of_train() -> None:
    """A template that is just wide enough, and train has a run of it that the walk would go through."""
    cells = [f"{i:013d}" for i in range(5_000)] + ["9" * 13, "5678901234567"]
    probe = made_ids([*cells, "1111111111111"], "string")
    made = made_ids([*cells, *probe[:1_000]], "string")
    assert not set(made) & {*cells, *probe[:1_000]}
    assert len(set(made)) == 2_000


def test_string_ids_keep_the_shape() -> None:
    cells = [f"AB-{i * 7919 % 10**6:06d}-{'xyz'[i % 3]}f" for i in range(300)]
    assert all(i.startswith("AB-") and len(i) >= len(cells[0]) for i in made_ids(cells, "string"))
    hexes = [f"{(i * 2654435761) % 2**128:032x}" for i in range(1, 300)]
    full = [f"{hash_:032x}" for hash_ in (int(h, 16) * 0x9E3779B97F4A7C15F39CC0605CEDC835 % 2**128 for h in hexes)]
    assert all(len(i) == 32 and set(i) <= set("0123456789abcdef") for i in made_ids(full, "string"))


def test_a_made_id_is_a_function_of_key_and_candidate() -> None:
    cells = [f"u{i:08d}" for i in range(50)]
    assert made_ids(cells, "string", rows=10) == made_ids(cells, "string", rows=50)[:10]
    assert not set(made_ids(cells, "string", key=1)) & set(made_ids(cells, "string", key=2))


@settings(max_examples=50, deadline=None)
@given(tables())
def test_saved_and_loaded_codecs_agree(
    tmp_path_factory: pytest.TempPathFactory, drawn: tuple[pa.Table, Schema]
) -> None:
    table, schema = drawn
    codec = TableCodec.fit(table, schema)
    first, second = tmp_path_factory.mktemp("codec"), tmp_path_factory.mktemp("codec")
    codec.save(first)
    loaded = TableCodec.load(first)
    loaded.save(second)
    assert loaded.decode(codec.encode(table)).equals(table)
    assert files(first) == files(second)


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_the_encoding_changes_only_with_its_version(tmp_path: Path) -> None:
    """When this fails, raise TableCodec.version and put the new hash here: every model is then fitted anew."""
    schema = Schema(
        columns=(
            Column(name="key", kind="id", dtype="string"),
            Column(name="label", kind="category", dtype="string", nullable=True),
            Column(name="whole", kind="integer", dtype="int64"),
            Column(name="money", kind="number", dtype="double", nullable=True),
        )
    )
    rows = 64
    cells = {
        "key": [f"k-{i:04d}" for i in range(rows)],
        "label": ["a", "b", None, "a"] * (rows // 4),
        "whole": [i * i for i in range(rows)],
        "money": [None if i % 9 == 0 else i * 1.25 for i in range(rows)],
    }
    table = pa.table(cells, schema=schema.arrow)
    codec = TableCodec.fit(table, schema)
    codec.save(tmp_path)
    encoded = codec.encode(table)
    digest = hashlib.sha256((tmp_path / "codec.json").read_bytes())
    digest.update(encoded.codes.numpy().tobytes() + encoded.values.numpy().round(9).tobytes())
    digest.update("".join(codec.decode(encoded, key=3)["key"].to_pylist()).encode())
    assert (codec.version, digest.hexdigest()[:16]) == (2, "7960a46a81151b0c")
