"""What every generator of tables promises of shapes and fits: a new file in generators/table/ is asked without a line here."""

import numpy as np
import pyarrow as pa
import pytest
import torch
from support.checkpoints import Killed, Memory
from support.people import (
    SMALL,
    TABLE_GENERATORS,
    TINY,
    data_of,
    fit,
    fitted,
    has,
    numbers,
    people,
    request,
    saved,
    schema_of,
)

from generators.nets.refiner import LEAST_ROWS
from synthmill import registry
from synthmill.columns import Schema
from synthmill.errors import FitError, RecipeError
from synthmill.generator import TrainData

each = pytest.mark.parametrize("key", TABLE_GENERATORS)
pytestmark = pytest.mark.slow

UNREFINED = {"refine": False}


def colours_and_shades(rows):
    names = ["colour", "shade"]
    schema = Schema(columns=tuple(people().schema[name] for name in names))
    return TrainData(people().table.slice(0, rows).select(names), schema)


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
    frame = fit(key, colours_and_shades(200), **SMALL | {"steps": 300})[0].sample(request(1_024)).table.to_pandas()
    assert ((frame["shade"] > 0) == (frame["colour"] == "red")).mean() > 0.85


@each
def test_two_hundred_columns(key):
    random = np.random.default_rng(0)
    common = random.normal(size=300)
    cells = {f"c{i}": common + random.normal(size=300) for i in range(200)}
    model, _ = fit(key, data_of(cells, numbers(cells)), **TINY | {"steps": 2, "trees": 1})
    assert np.isfinite(model.sample(request(128)).table.to_pandas()).all(axis=None)


@each
def test_ten_thousand_labels_are_known_ones_and_can_be_given(key):
    labels = [f"label {i}" for i in range(10_000)]
    kinds = {"label": ("category", "string"), "side": ("category", "string")}
    data = data_of({"label": labels, "side": ["even", "odd"] * 5_000}, kinds)
    model, _ = fit(key, data, **TINY | UNREFINED)
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
def test_progress_comes_with_the_losses_of_the_report(key):
    seen = []
    _, report = fit(key, colours_and_shades(LEAST_ROWS), progress=lambda *now: seen.append(now), **TINY | {"steps": 50})
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
    model, report = fit(key, one, **TINY | UNREFINED | {"steps": 40, "batch": 1})
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
