"""table/trees' own parts: trees and leaves, labels as scores, functions of others to the letter, and trees grown when first asked for."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from generators.nets.cart import Cells, Leaves, Splits
from generators.nets.label_scores import label_scores
from generators.table.trees import Trees
from synthmill.columns import Column, Schema
from synthmill.generator import SampleRequest, TrainData

ROWS = 2_000
KINDS = {
    "key": ("id", "string"),
    "colour": ("category", "string"),
    "is_large": ("boolean", "bool"),
    "shade": ("number", "double"),
    "grade": ("integer", "int64"),
    "town": ("category", "string"),
    "country": ("category", "string"),
    "amount": ("number", "double"),
    "day": ("date", "date32"),
}


def mixed_table() -> TrainData:
    """`colour` decides `is_large`, `shade` and where `amount` is missing; `country` is a function of `town`; 7.25 is a spike."""
    random = np.random.default_rng(0)
    is_red = random.random(ROWS) < 0.3
    town = random.geometric(0.1, ROWS).clip(max=60)
    amount = random.gamma(2, 5, ROWS).round(2)
    amount[random.random(ROWS) < 0.06] = 7.25
    cells = {
        "key": [f"k{i:06d}" for i in range(ROWS)],
        "colour": np.where(is_red, "red", "blue"),
        "is_large": is_red ^ (random.random(ROWS) < 0.05),
        "shade": random.normal(np.where(is_red, 4.0, -4.0), 1.0),
        "grade": 5 * random.integers(0, 400, ROWS),
        "town": [f"town {t}" for t in town],
        "country": [f"country {t % 7}" for t in town],
        "amount": pa.array(amount, mask=is_red),
        "day": pa.array(random.integers(10_000, 20_000, ROWS).astype(np.int32), mask=random.random(ROWS) < 0.1),
    }
    return table_of(cells, KINDS)


def table_of(cells: dict[str, object], kinds: dict[str, tuple[str, str]]) -> TrainData:
    schema = Schema(columns=tuple(Column(name=n, kind=k, dtype=d, nullable=True) for n, (k, d) in kinds.items()))
    return TrainData(pa.table({n: pa.array(c).cast(schema[n].arrow) for n, c in cells.items()}, schema.arrow), schema)


def fitted(data: TrainData, **params: object) -> Trees:
    model = Trees(Trees.Params(**params))
    model.fit(data, seed=0, device="cpu", progress=lambda step, steps, loss: None)
    return model


def request(rows: int, given: pa.Table | None = None) -> SampleRequest:
    given = pa.table({}) if given is None else given
    return SampleRequest(np.arange(rows), 1, given, np.ones((rows, given.num_columns), dtype=bool))


@pytest.fixture(scope="module")
def data() -> TrainData:
    return mixed_table()


@pytest.fixture(scope="module")
def model(data: TrainData) -> Trees:
    return fitted(data)


def test_a_function_of_another_column_stays_one(model: Trees, data: TrainData) -> None:
    known = set(zip(data.table["town"].to_pylist(), data.table["country"].to_pylist(), strict=True))
    made = model.sample(request(4_000)).table
    assert set(zip(made["town"].to_pylist(), made["country"].to_pylist(), strict=True)) <= known
    towns = sorted({town for town, _ in known})
    given = pa.table({"town": [towns[i % len(towns)] for i in range(4_000)]})
    made = model.sample(request(4_000, given)).table
    assert set(zip(made["town"].to_pylist(), made["country"].to_pylist(), strict=True)) <= known


def test_numbers_that_no_rows_share_are_not_those_of_train(model: Trees, data: TrainData) -> None:
    copying = Trees(Trees.Params(smoothing=0.0))
    copying.__dict__ |= {name: value for name, value in vars(model).items() if name != "params"}
    train = data.table["shade"].to_numpy()
    assert not np.isin(model.sample(request(2_000)).table["shade"].to_numpy(), train).any()
    near = copying.sample(request(2_000)).table["shade"].to_numpy()
    assert np.abs(near[:, None] - train).min(axis=1).max() < 1e-3  # as near as the codec's knots let it


def test_a_loaded_model_makes_the_same_rows_given_cells_or_not(model: Trees, data: TrainData, tmp_path: Path) -> None:
    model.save(tmp_path)
    loaded = Trees.load(tmp_path, model.params, device="cpu")
    for given in (pa.table({}), data.table.select(["is_large"]).slice(0, 300)):
        assert loaded.sample(request(300, given)).table.equals(model.sample(request(300, given)).table)


def test_a_model_that_met_conditions_saves_the_same_bytes(data: TrainData, tmp_path: Path) -> None:
    folders = [tmp_path / "before", tmp_path / "after"]
    model = fitted(data)
    for folder in folders:
        folder.mkdir()
        model.save(folder)
        model.sample(request(4, data.table.select(["is_large"]).slice(0, 4)))
    for file in folders[0].iterdir():
        assert file.read_bytes() == (folders[1] / file.name).read_bytes()


def test_only_what_sampling_reads_is_left_out_of_the_fit() -> None:
    assert Trees.Params.sampling_only() == {"smoothing", "temperature"}


def test_ten_thousand_labels_follow_what_they_tell() -> None:
    random = np.random.default_rng(0)
    shop = random.integers(0, 10_000, 20_000)
    cells = {"shop": [f"s{i}" for i in shop], "size": random.normal(shop % 2 * 8.0, 1.0)}
    data = table_of(cells, {"shop": ("category", "string"), "size": ("number", "double")})
    given = pa.table({"shop": [f"s{i}" for i in shop[:2_000]]})
    model = fitted(data)
    made = model.sample(request(2_000, given)).table["size"].to_numpy()
    assert ((made > 4) == shop[:2_000] % 2).mean() > 0.9
    shops = {int(label[1:]) for label in model.sample(request(4_000)).table["shop"].to_pylist()}
    assert shops <= set(shop.tolist())
    assert len(shops) > 2_000


def test_more_columns_than_a_tree_looks_at() -> None:
    random = np.random.default_rng(0)
    cells = {f"c{i}": random.normal(size=400) for i in range(60)}
    cells["c59"] = cells["c7"] * 2 + 0.1 * random.normal(size=400)
    made = fitted(table_of(cells, dict.fromkeys(cells, ("number", "double")))).sample(request(1_000)).table
    assert np.corrcoef(made["c7"].to_numpy(), made["c59"].to_numpy())[0, 1] > 0.7


def test_the_trees_are_those_of_scikit_learn() -> None:
    from sklearn.tree import DecisionTreeRegressor

    random = np.random.default_rng(0)
    features, answers = random.normal(size=(500, 3)).astype(np.float32), random.normal(size=(500, 1))
    splits = Splits.grow(features, answers, trees=1, share=1, leaf=7, seed=0)
    leaf_of = splits.leaves_of(features, np.zeros(500, np.int64))
    theirs = DecisionTreeRegressor(min_samples_leaf=7, random_state=0).fit(features, answers).apply(features)
    assert len(set(zip(leaf_of, theirs, strict=True))) == len(set(leaf_of)) == len(set(theirs))
    assert np.bincount(leaf_of).min() >= 7


def test_leaves_give_back_the_shares_they_were_filled_with() -> None:
    codes = np.array([0, 0, 0, 1, 1, 2, 2, 2])
    leaves = Leaves.fill(np.array([0, 0, 0, 0, 1, 1, 1, 1]), Cells(codes, np.zeros(8)), free=-1)
    uniforms = (np.arange(1_000) + 0.5) / 1_000
    for leaf, shares in ((0, [0.75, 0.25, 0]), (1, [0, 0.25, 0.75])):
        drawn = leaves.draw_codes(np.full(1_000, leaf), uniforms, leaves.heights(1.0))
        assert np.allclose(np.bincount(drawn, minlength=3) / 1_000, shares)
    assert leaves.entropy() == pytest.approx(-(0.75 * np.log(0.75) + 0.25 * np.log(0.25)))


def test_a_lone_number_is_drawn_between_its_neighbours_in_the_column() -> None:
    values = np.arange(20.0)
    leaves = Leaves.fill((values == 10).astype(np.int64), Cells(np.zeros(20, np.int64), values), free=0)
    drawn = leaves.draw_values(np.ones(1_000, np.int64), (np.arange(1_000) + 0.5) / 1_000, 1.0, 1.0)
    assert 7 < drawn.min() < 9 < 11 < drawn.max() < 13
    assert len(set(drawn)) == 1_000


def test_labels_that_say_the_same_have_the_same_score() -> None:
    codes = np.repeat(np.arange(4), 100)
    answers = np.where(codes % 2, 1.0, 0.0)[:, None]
    scores = label_scores(codes, 4, answers)[:, 0]
    assert scores[0] == pytest.approx(scores[2])
    assert scores[1] == pytest.approx(scores[3])
    assert abs(scores[0] - scores[1]) > 0.5
