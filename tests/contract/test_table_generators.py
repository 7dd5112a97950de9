"""What every generator of tables promises of cells, columns and fits: a new file in generators/table/ is asked without a line here."""

from functools import cache

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
import torch
from support.checkpoints import Killed, Memory
from support.tables import built_in_generators

from synthmill import registry
from synthmill.columns import Column, Schema
from synthmill.errors import FitError, RecipeError
from synthmill.generator import NO_CHECKPOINT, SampleRequest, TrainData

ROWS = 1_500
SMALL = {"steps": 900, "width": 48, "depth": 1, "batch": 128, "dropout": 0.1}
TINY = {"steps": 5, "width": 16, "depth": 1, "batch": 64}
SPIKE = 250.5

each = pytest.mark.parametrize("key", [key for key in built_in_generators() if key.startswith("table/")])
pytestmark = pytest.mark.slow


def schema_of(kinds):
    columns = (Column(name=name, kind=kind, dtype=dtype, nullable=True) for name, (kind, dtype) in kinds.items())
    return Schema(columns=tuple(columns))


def data_of(cells, kinds):
    schema = schema_of(kinds)
    arrays = {name: pa.array(values).cast(schema[name].arrow) for name, values in cells.items()}
    return TrainData(pa.table(arrays, schema=schema.arrow), schema)


def numbers(names):
    return dict.fromkeys(names, ("number", "double"))


@cache
def people():
    """`colour`, rarely gold, tells `is_large`, `shade` and where `amount` and `unit` are missing; `level` is a function of `grade`."""
    random = np.random.default_rng(0)
    colour = random.choice(["blue", "gold", "red"], ROWS, p=[0.6, 0.05, 0.35])
    is_red = colour == "red"
    is_unknown = is_red ^ (random.random(ROWS) < 0.02)
    grade = random.choice(list("abcdefgh"), ROWS)
    amount = np.where(random.random(ROWS) < 0.05, SPIKE, random.gamma(2, 100, ROWS).round(2))
    days = random.integers(10_000, 20_000, ROWS).astype(np.int32)
    cells = {
        "key": [f"k{i:06d}" for i in range(ROWS)],
        "colour": colour,
        "is_large": is_red ^ (random.random(ROWS) < 0.05),
        "shade": random.normal(np.where(is_red, 4.0, -4.0), 1.0),
        "grade": grade,
        "level": [level_of(g) for g in grade],
        "count": 5 * random.integers(-100, 300, ROWS),
        "amount": pa.array(amount, mask=is_unknown),
        "unit": pa.array(random.choice(["kg", "lb"], ROWS), mask=is_unknown),
        "day": pa.array(days, mask=random.random(ROWS) < 0.1),
    }
    kinds = {
        "key": ("id", "string"),
        "colour": ("category", "string"),
        "is_large": ("boolean", "bool"),
        "shade": ("number", "double"),
        "grade": ("category", "string"),
        "level": ("integer", "int64"),
        "count": ("integer", "int64"),
        "amount": ("number", "double"),
        "unit": ("category", "string"),
        "day": ("date", "date32"),
    }
    return data_of(cells, kinds)


def level_of(grade):
    return 7 * (ord(grade) - ord("a"))


def fit(key, data, *, seed=0, progress=lambda step, steps, loss: None, checkpoint=NO_CHECKPOINT, **params):
    """A fit with those of `params` that the generator has."""
    kind = registry.generator(key)
    torch.set_num_threads(kind.threads)
    known = {name: value for name, value in params.items() if name in kind.Params.model_fields}
    model = kind(kind.Params.parse(known))
    report = model.fit(data, seed=seed, device="cpu", progress=progress, checkpoint=checkpoint)
    return model, report


@cache
def fitted(key):
    return fit(key, people(), **SMALL)[0]


def request(rows, given=None, mask=None, *, first=0, key=1):
    given = pa.table({}) if given is None else given
    mask = np.ones((rows, given.num_columns), dtype=bool) if mask is None else mask
    return SampleRequest(np.arange(rows) + first, key, given, mask)


@cache
def made(key):
    return fitted(key).sample(request(4_096)).table


def saved(model, folder):
    folder.mkdir()
    model.save(folder)
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def has(key, param):
    return param in registry.generator(key).Params.model_fields


# cells ----------------------------------------------------------------------------------------------------------------


@each
def test_the_rows_have_the_schema_of_train_and_ids_of_their_own(key):
    table = made(key)
    assert table.schema == people().schema.arrow
    keys = set(table["key"].to_pylist())
    assert len(keys) == table.num_rows
    assert not keys & set(people().table["key"].to_pylist())


@each
def test_columns_that_are_missing_together_stay_so(key):
    amount, unit = (made(key)[name].is_null().to_numpy() for name in ("amount", "unit"))
    assert abs(amount.mean() - 0.36) < 0.1
    assert (amount == unit).mean() > 0.99  # on their own: 0.54
    is_red = pc.equal(made(key)["colour"], "red").to_numpy()
    assert (amount == is_red).mean() > 0.85
    assert abs(made(key)["day"].is_null().to_numpy().mean() - 0.1) < 0.06
    assert made(key)["shade"].null_count == 0


@each
def test_a_number_that_many_rows_share_comes_out_as_that_number(key):
    amount = made(key)["amount"].drop_null().to_numpy()
    assert abs((amount == SPIKE).mean() - 0.05) < 0.03


@each
def test_integers_keep_their_step_and_numbers_their_decimals(key):
    frame = made(key).to_pandas()
    assert (frame["count"] % 5 == 0).all()
    assert (frame["level"] % 7 == 0).all()
    amount = frame["amount"].dropna()
    assert np.array_equal(amount.round(2), amount)
    assert not np.isin(amount[amount != SPIKE], people().table["amount"].drop_null().to_numpy()).all()


@each
def test_bounds_hold(key):
    for name in ("shade", "count", "amount", "day"):
        real, own = pc.min_max(people().table[name]).as_py(), pc.min_max(made(key)[name]).as_py()
        assert real["min"] <= own["min"] < own["max"] <= real["max"], name


@each
def test_a_column_that_is_a_function_of_another_stays_one(key):
    frame = made(key).to_pandas()
    assert (frame["grade"].map(level_of) == frame["level"]).all()
    assert set(frame["grade"]) == set("abcdefgh")


@each
def test_a_function_holds_whichever_side_is_given(key):
    rows = 1_024
    grades = [*"abcdefgh"] * (rows // 8)
    levels = [level_of(grade) for grade in grades]
    frame = fitted(key).sample(request(rows, pa.table({"grade": grades}))).table.to_pandas()
    assert frame["level"].tolist() == levels
    frame = fitted(key).sample(request(rows, pa.table({"level": levels}))).table.to_pandas()
    assert frame["grade"].tolist() == grades


@each
def test_rare_labels_and_what_goes_with_labels_are_kept(key):
    frame = made(key).to_pandas()
    is_red = frame["colour"] == "red"
    assert abs(is_red.mean() - 0.35) < 0.1
    assert 0.01 < (frame["colour"] == "gold").mean() < 0.15
    assert ((frame["shade"] > 0) == is_red).mean() > 0.85
    assert (frame["is_large"].astype(bool) == is_red).mean() > 0.8


# conditions -----------------------------------------------------------------------------------------------------------


@each
def test_each_row_meets_the_cells_that_it_is_given_and_the_rest_goes_with_them(key):
    """Half of the rows are given a label, the other half a number; where the mask is false, what stands in `given` is no condition."""
    rows = 2_048
    given = pa.table({"colour": ["red", "blue"] * (rows // 2), "shade": [9.0, -4.5] * (rows // 2)})
    mask = np.tile([[True, False], [False, True]], (rows // 2, 1))
    frame = fitted(key).sample(request(rows, given, mask)).table.to_pandas()
    assert (frame["colour"][::2] == "red").all()
    assert (frame["shade"][1::2] == -4.5).all()
    assert (frame["shade"][::2] > 0).mean() > 0.8
    assert (frame["shade"][::2] == 9.0).mean() < 0.1
    assert (frame["colour"][1::2] != "red").mean() > 0.8
    assert frame["colour"][1::2].nunique() > 1
    assert frame["is_large"][::2].astype(bool).mean() - frame["is_large"][1::2].astype(bool).mean() > 0.5


@each
def test_a_balanced_column_is_met_exactly(key):
    labels = ["blue", "gold", "red"]
    given = pa.table({"colour": [labels[row % 3] for row in range(1_536)]})
    frame = fitted(key).sample(request(1_536, given)).table.to_pandas()
    assert frame["colour"].tolist() == given["colour"].to_pylist()
    assert (frame["shade"][frame["colour"] == "gold"] < 0).mean() > 0.7


@each
def test_a_missing_cell_can_be_given(key):
    given = pa.table({"amount": pa.nulls(512, pa.float64())})
    table = fitted(key).sample(request(512, given)).table
    assert table["amount"].null_count == 512
    assert table["unit"].null_count > 0.7 * 512
    assert pc.equal(table["colour"], "red").to_numpy().mean() > 0.7


@each
def test_all_cells_given_come_back_but_for_ids(key):
    given = people().table.slice(0, 100)
    model = fitted(key)
    assert model.sample(request(100, given)).table.drop(["key"]).equals(given.drop(["key"]))
    assert type(model).exact_conditions(people().schema, model.params) == set(given.column_names) - {"key"}


@each
def test_a_label_that_train_lacks_is_refused_and_not_told(key):
    with pytest.raises(RecipeError, match="colour") as caught:
        fitted(key).sample(request(4, pa.table({"colour": ["green"] * 4})))
    assert "green" not in str(caught.value)


@each
def test_a_row_depends_on_key_candidate_and_its_own_cells_alone(key):
    model = fitted(key)
    whole, later = model.sample(request(256)).table, model.sample(request(256, first=100)).table
    assert later.slice(0, 156).equals(whole.slice(100, 156))
    mask = np.zeros((256, 1), dtype=bool)
    mask[1::2] = True
    half = model.sample(request(256, pa.table({"colour": ["red"] * 256}), mask)).table
    others = list(range(0, 256, 2))
    assert half.take(others).equals(whole.take(others))
    assert not model.sample(request(256, key=2)).table.equals(whole)


@each
def test_a_low_temperature_keeps_to_what_is_likely(key, tmp_path):
    model = fitted(key)
    model.save(tmp_path)
    cold = type(model).load(tmp_path, model.params.model_copy(update={"temperature": 0.05}), device="cpu")
    warm, sure = made(key).to_pandas(), cold.sample(request(1_024)).table.to_pandas()
    assert (sure["colour"] == "blue").mean() > (warm["colour"] == "blue").mean() + 0.1  # the commonest label
    assert sure["shade"][sure["colour"] == "blue"].std() < 0.7 * warm["shade"][warm["colour"] == "blue"].std()


# shapes of tables -----------------------------------------------------------------------------------------------------

SHAPES = {
    "one label": {"a": ["x", "y"] * 20},
    "one number": {"a": np.random.default_rng(0).normal(size=40)},
    "constants": {"a": [1.0] * 30, "b": ["x"] * 30, "c": pa.nulls(30, pa.float64())},
    "numbers": {"a": np.arange(50.0) ** 1.5, "b": np.arange(50.0)[::-1] ** 0.5},
    "labels": {"a": ["x", "y", None] * 10, "b": ["p", "q", "r"] * 10},
    "one row": {"a": [1.5], "b": ["x"]},
    "two rows": {"a": [1.5, 2.5], "b": ["x", "y"], "c": [None, 3.5]},
    "hostile names": {"": ["x", "y"] * 9, "a.b": ["x", "y"] * 9, "größe 🜚": np.arange(18.0)},
}


@each
@pytest.mark.parametrize("cells", SHAPES.values(), ids=SHAPES)
def test_every_shape_of_table_works(key, cells, tmp_path):
    is_text = {name: pa.types.is_string(pa.array(values).type) for name, values in cells.items()}
    data = data_of(cells, {n: ("category", "string") if text else ("number", "double") for n, text in is_text.items()})
    model, _ = fit(key, data, **TINY)
    table = model.sample(request(64)).table
    assert table.schema == data.schema.arrow
    for name, text in is_text.items():
        if text:
            assert set(table[name].to_pylist()) <= set(data.table[name].to_pylist())
    model.save(tmp_path)
    assert type(model).load(tmp_path, model.params, device="cpu").sample(request(64)).table.equals(table)


@each
def test_two_hundred_rows_are_enough_to_learn_from(key):
    names = ["colour", "shade"]
    schema = Schema(columns=tuple(people().schema[name] for name in names))
    data = TrainData(people().table.slice(0, 200).select(names), schema)
    frame = fit(key, data, **SMALL | {"steps": 500})[0].sample(request(1_024)).table.to_pandas()
    assert ((frame["shade"] > 0) == (frame["colour"] == "red")).mean() > 0.85


@each
def test_two_hundred_columns(key):
    random = np.random.default_rng(0)
    common = random.normal(size=300)
    cells = {f"c{i}": common + random.normal(size=300) for i in range(200)}
    model, _ = fit(key, data_of(cells, numbers(cells)), **TINY | {"trees": 1})
    assert np.isfinite(model.sample(request(128)).table.to_pandas()).all(axis=None)


@each
def test_ten_thousand_labels_are_known_ones_and_can_be_given(key):
    labels = [f"label {i}" for i in range(10_000)]
    kinds = {"label": ("category", "string"), "side": ("category", "string")}
    data = data_of({"label": labels, "side": ["even", "odd"] * 5_000}, kinds)
    model, _ = fit(key, data, **TINY)
    assert model.sample(request(256, pa.table({"label": labels[-256:]}))).table["label"].to_pylist() == labels[-256:]
    drawn = set(model.sample(request(512)).table["label"].to_pylist())
    assert drawn <= set(labels)
    assert len(drawn) > 100


@each
@pytest.mark.parametrize(("kind", "words"), [("text", "note"), ("image", "note"), ("id", "ids")])
def test_what_it_cannot_make_is_refused_before_the_fit(key, kind, words):
    dtype = "image" if kind == "image" else "string"
    source = schema_of({"note": (kind, dtype), "more": ("id", "string")})
    generator = registry.generator(key)
    with pytest.raises(RecipeError, match=words):
        generator.schema(source, generator.Params.parse({}))


# fits -----------------------------------------------------------------------------------------------------------------


def by_steps(key):
    if not has(key, "max_minutes"):
        pytest.skip("it is not trained by steps")


@each
def test_a_fit_repeats_whatever_the_global_generators_hold_and_its_seed_matters(key, tmp_path):
    files = []
    for place, seed in enumerate((1, 1, 2)):
        torch.manual_seed(place)
        np.random.seed(place)
        files.append(saved(fit(key, people(), seed=seed, **TINY | {"trees": 2})[0], tmp_path / str(place)))
    assert files[0] == files[1]
    assert files[0] != files[2]


@each
def test_progress_comes_with_the_losses_of_the_report(key):
    seen = []
    _, report = fit(key, people(), progress=lambda *now: seen.append(now), **TINY | {"steps": 50})
    told = dict.fromkeys((step, loss) for step, _, loss in seen)  # the last one again while trees grow
    assert report.losses == tuple(told)
    assert report.steps == seen[-1][0] == seen[-1][1]
    assert report.stopped_by == "steps"


@each
def test_a_fit_that_diverges_says_so(key):
    if not has(key, "learning_rate"):
        pytest.skip("there is no learning rate")
    with pytest.raises(FitError, match="diverged"):
        fit(key, people(), **TINY | {"steps": 60, "learning_rate": 1e30})


@each
def test_a_warm_start_goes_on_from_the_model_that_it_is_given(key, tmp_path):
    if not has(key, "warm_start"):
        return
    short = {"steps": 15, "width": 48, "depth": 1, "batch": 128, "refine": False}
    saved(fitted(key), tmp_path / "before")
    told = {}
    for before in (None, tmp_path / "before"):
        data = TrainData(people().table, people().schema, before)
        frame = fit(key, data, warm_start=True, **short)[0].sample(request(1_024)).table.to_pandas()
        told[before] = ((frame["shade"] > 0) == (frame["colour"] == "red")).mean()
    assert told[tmp_path / "before"] > max(0.85, told[None] + 0.05)


@each
@pytest.mark.parametrize("column", ["colour", "shade"])
def test_one_column_is_learnt_in_batches_that_have_nothing_but_given_cells(key, column):
    """With one row a batch, half of the batches teach nothing."""
    source = people()
    one = TrainData(source.table.select([column]), Schema(columns=(source.schema[column],)))
    model, report = fit(key, one, **TINY | {"steps": 40, "batch": 1})
    assert np.isfinite([loss for _, loss in report.losses]).all()
    cells = model.sample(request(4_096)).table[column]
    assert cells.null_count < len(cells)


@each
def test_a_fit_ends_in_time_and_says_so(key):
    by_steps(key)
    _, report = fit(key, people(), **TINY | {"steps": 10**6, "max_minutes": 0.003})
    assert report.stopped_by == "time"
    assert report.steps < 10**6


@each
def test_a_killed_fit_goes_on_to_the_same_bytes(key, tmp_path):
    by_steps(key)
    steps = TINY | {"steps": 80}
    whole = saved(fit(key, people(), **steps)[0], tmp_path / "whole")

    def kill(step, total, loss):
        if step == 40:
            raise Killed

    checkpoint, seen = Memory(), []
    with pytest.raises(Killed):
        fit(key, people(), progress=kill, checkpoint=checkpoint, **steps)
    torch.manual_seed(5)
    model, report = fit(key, people(), progress=lambda *now: seen.append(now), checkpoint=checkpoint, **steps)
    assert seen[0][:2] == (40, 80), "says where it goes on"
    assert saved(model, tmp_path / "resumed") == whole
    assert [step for step, _ in report.losses] == [20, 40, 60, 80]
