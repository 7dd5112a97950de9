"""table/trees at tiny sizes: dependence, exact conditions, shared numbers, functions of others, and rows by key and candidate alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from generators.nets.cart import Cells, Leaves, Splits
from generators.nets.label_scores import label_scores
from generators.table.trees import Trees
from synthmill.columns import Column, Schema
from synthmill.errors import RecipeError
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


def fitted(data: TrainData, seed: int = 0, **params: object) -> Trees:
    model = Trees(Trees.Params(**params))
    model.fit(data, seed=seed, device="cpu", progress=lambda step, steps, loss: None)
    return model


def request(rows: int, given: pa.Table | None = None, mask: np.ndarray | None = None, **kw: int) -> SampleRequest:
    given = pa.table({}) if given is None else given
    mask = np.ones((rows, given.num_columns), dtype=bool) if mask is None else mask
    return SampleRequest(np.arange(rows) + kw.get("first", 0), kw.get("key", 1), given, mask)


@pytest.fixture(scope="module")
def data() -> TrainData:
    return mixed_table()


@pytest.fixture(scope="module")
def model(data: TrainData) -> Trees:
    return fitted(data)


def test_rows_keep_schema_dependence_and_missing_pattern(model: Trees, data: TrainData) -> None:
    made = model.sample(request(4_000)).table
    assert made.schema.equals(data.table.schema)
    frame = made.to_pandas()
    is_red = frame["colour"] == "red"
    assert abs(is_red.mean() - np.mean(np.array(data.table["colour"]) == "red")) < 0.03
    assert (frame["is_large"].astype(bool) == is_red).mean() > 0.92
    assert ((frame["shade"] > 0) == is_red).mean() > 0.98
    assert (frame["amount"].isna() == is_red).mean() > 0.98
    assert abs(frame["day"].isna().mean() - 0.1) < 0.03
    assert frame["key"].is_unique
    assert not set(frame["key"]) & set(data.table["key"].to_pylist())


def test_a_function_of_another_column_stays_one(model: Trees, data: TrainData) -> None:
    known = set(zip(data.table["town"].to_pylist(), data.table["country"].to_pylist(), strict=True))
    made = model.sample(request(4_000)).table
    assert set(zip(made["town"].to_pylist(), made["country"].to_pylist(), strict=True)) <= known
    towns = sorted({town for town, _ in known})
    given = pa.table({"town": [towns[i % len(towns)] for i in range(4_000)]})
    made = model.sample(request(4_000, given)).table
    assert set(zip(made["town"].to_pylist(), made["country"].to_pylist(), strict=True)) <= known


def test_a_spike_comes_out_as_that_number(model: Trees) -> None:
    amount = model.sample(request(4_000)).table["amount"].drop_null().to_numpy()
    assert abs((amount == 7.25).mean() - 0.06) < 0.02


def test_integers_keep_their_step_and_numbers_their_decimals_and_bounds(model: Trees, data: TrainData) -> None:
    frame, train = model.sample(request(4_000)).table.to_pandas(), data.table.to_pandas()
    assert (frame["grade"] % 5 == 0).all()
    assert np.array_equal(frame["amount"].dropna(), frame["amount"].dropna().round(2))
    for name in ("grade", "amount", "shade"):
        assert train[name].min() <= frame[name].min() < frame[name].max() <= train[name].max()


def test_numbers_that_no_rows_share_are_not_those_of_train(model: Trees, data: TrainData) -> None:
    copying = Trees(Trees.Params(smoothing=0.0))
    copying.__dict__ |= {name: value for name, value in vars(model).items() if name != "params"}
    train = data.table["shade"].to_numpy()
    assert not np.isin(model.sample(request(2_000)).table["shade"].to_numpy(), train).any()
    near = copying.sample(request(2_000)).table["shade"].to_numpy()
    assert np.abs(near[:, None] - train).min(axis=1).max() < 1e-3  # as near as the codec's knots let it


def test_given_cells_come_back_and_all_others_follow_them(model: Trees) -> None:
    rows = 2_048
    given = pa.table({"colour": ["red", None] * (rows // 2), "shade": [None, -4.5] * (rows // 2)})
    mask = np.tile([[True, False], [False, True]], (rows // 2, 1))
    frame = model.sample(request(rows, given, mask)).table.to_pandas()
    assert (frame["colour"][::2] == "red").all()
    assert (frame["shade"][1::2] == -4.5).all()
    assert (frame["shade"][::2] > 0).mean() > 0.98
    assert (frame["colour"][1::2] == "blue").mean() > 0.98
    assert frame["is_large"][::2].astype(bool).mean() > 0.9
    assert frame["is_large"][1::2].astype(bool).mean() < 0.1
    assert frame["amount"][::2].isna().mean() > 0.98


def test_a_missing_cell_can_be_given(model: Trees) -> None:
    given = pa.table({"amount": pa.array([None] * 256, type=pa.float64())})
    frame = model.sample(request(256, given)).table.to_pandas()
    assert frame["amount"].isna().all()
    assert (frame["colour"] == "red").mean() > 0.95


def test_all_cells_given_come_back_but_for_ids(model: Trees, data: TrainData) -> None:
    given = data.table.slice(0, 100)
    assert model.sample(request(100, given)).table.drop(["key"]).equals(given.drop(["key"]))
    assert Trees.exact_conditions(data.schema, model.params) == set(data.schema.names) - {"key"}


def test_a_given_label_that_train_lacks_is_refused(model: Trees) -> None:
    with pytest.raises(RecipeError, match="colour") as caught:
        model.sample(request(4, pa.table({"colour": ["green"] * 4})))
    assert "green" not in str(caught.value)


def test_a_row_depends_on_key_and_candidate_alone(model: Trees) -> None:
    whole = model.sample(request(256)).table
    later = model.sample(request(256, first=100)).table
    assert later.slice(0, 156).equals(whole.slice(100, 156))
    assert model.sample(request(1, first=17)).table.equals(whole.slice(17, 1))
    assert not model.sample(request(256, key=2)).table.equals(whole)


def test_a_neighbours_conditions_do_not_change_a_row(model: Trees) -> None:
    given = pa.table({"colour": ["red"] * 256})
    mask = np.zeros((256, 1), dtype=bool)
    mask[1::2] = True
    unconditioned, half = model.sample(request(256)).table, model.sample(request(256, given, mask)).table
    assert half.take(list(range(0, 256, 2))).equals(unconditioned.take(list(range(0, 256, 2))))


def test_a_fit_repeats_and_its_seed_matters(data: TrainData, tmp_path: Path) -> None:
    saved = []
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        np.random.seed(len(saved))  # the global generator must not matter
        (tmp_path / name).mkdir()
        fitted(data, seed=seed).save(tmp_path / name)
        saved.append((tmp_path / name / "trees.safetensors").read_bytes())
    assert saved[0] == saved[1] != saved[2]


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


def test_a_low_temperature_keeps_to_what_is_likely(model: Trees, tmp_path: Path) -> None:
    model.save(tmp_path)
    cold = Trees.load(tmp_path, model.params.model_copy(update={"temperature": 0.05}), device="cpu")
    frames = [m.sample(request(1_024)).table.to_pandas() for m in (model, cold)]
    warm_blue, cold_blue = ((frame["colour"] == "blue").mean() for frame in frames)
    warm_std, cold_std = (frame["shade"][frame["colour"] == "blue"].std() for frame in frames)
    assert cold_blue > warm_blue + 0.1  # blue is the commoner label
    assert cold_std < 0.7 * warm_std


def test_progress_and_losses(data: TrainData) -> None:
    seen: list[tuple[int, int, float]] = []
    report = Trees(Trees.Params()).fit(data, seed=0, device="cpu", progress=lambda *call: seen.append(call))
    assert [(step, steps) for step, steps, _ in seen] == [(step, 8) for step in range(1, 9)]  # the id is no step
    assert report.losses == tuple((step, loss) for step, _, loss in seen)


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


def test_two_hundred_rows_are_enough(data: TrainData) -> None:
    small = TrainData(data.table.slice(0, 200), data.schema)
    frame = fitted(small).sample(request(1_000)).table.to_pandas()
    assert ((frame["shade"] > 0) == (frame["colour"] == "red")).mean() > 0.9


def test_more_columns_than_a_tree_looks_at() -> None:
    random = np.random.default_rng(0)
    cells = {f"c{i}": random.normal(size=400) for i in range(60)}
    cells["c59"] = cells["c7"] * 2 + 0.1 * random.normal(size=400)
    made = fitted(table_of(cells, dict.fromkeys(cells, ("number", "double")))).sample(request(1_000)).table
    assert np.corrcoef(made["c7"].to_numpy(), made["c59"].to_numpy())[0, 1] > 0.7


SHAPES = {
    "one label": {"a": ["x", "y"] * 20},
    "one number": {"a": np.random.default_rng(0).normal(size=40)},
    "constants": {"a": [1.0] * 30, "b": ["x"] * 30, "c": pa.array([None] * 30, pa.float64())},
    "numbers": {"a": np.arange(50.0) ** 1.5, "b": np.arange(50.0)[::-1] ** 0.5},
    "labels": {"a": ["x", "y", None] * 10, "b": ["p", "q", "r"] * 10},
    "one row": {"a": [1.5], "b": ["x"]},
    "two rows": {"a": [1.5, 2.5], "b": ["x", "y"], "c": [None, 3.5]},
    "hostile names": {"": ["x", "y"] * 9, "a.b": ["x", "y"] * 9, "größe 🜚": np.arange(18.0)},
}


@pytest.mark.parametrize("cells", SHAPES.values(), ids=SHAPES)
def test_every_shape_of_table_works(cells: dict[str, object], tmp_path: Path) -> None:
    kinds = {"double": ("number", "double"), "string": ("category", "string")}
    data = table_of(cells, {f.name: kinds[str(f.type)] for f in pa.table(cells).schema})
    model = fitted(data)
    made = model.sample(request(64)).table
    assert made.schema.equals(data.schema.arrow)
    for name in data.schema.names:
        if pa.types.is_string(data.table[name].type):
            assert set(made[name].to_pylist()) <= set(data.table[name].to_pylist())
    model.save(tmp_path)
    assert Trees.load(tmp_path, model.params, device="cpu").sample(request(64)).table.equals(made)


@pytest.mark.parametrize("kind", ["text", "id"])
def test_what_it_cannot_make_is_refused_before_the_fit(kind: str) -> None:
    source = Schema(columns=(Column(name="note", kind=kind, dtype="string"),))  # type: ignore[arg-type]
    with pytest.raises(RecipeError, match="note" if kind == "text" else "ids"):
        Trees.schema(source, Trees.Params())


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
