"""What every generator promises, run over the registry. Fits are short: what is promised does not depend on quality."""

import hashlib
from functools import cache

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
import torch
from support.tables import MIXED, built_in_generators, digits, mixed

from synthmill import registry
from synthmill.generator import SampleRequest, TrainData


def short(kind, steps=60):
    """Parameters of a short fit; trees have no optimizer steps, and are grown in a second."""
    return kind.Params.parse({"steps": steps} if "steps" in kind.Params.model_fields else {})


@cache
def train_data(modality):
    if modality == "image":
        table, schema = digits()
        return TrainData(table.slice(0, 400), schema)
    return TrainData(mixed(), MIXED)


@cache
def fitted(key):
    kind = registry.generator(key)
    torch.set_num_threads(kind.threads)
    model = kind(short(kind))
    model.fit(train_data(kind.modality), seed=1, device="cpu", progress=lambda step, steps, loss: None)
    return model


def request_for(model, first=0, given=None, key=5):
    rows = model.micro_batch
    given = pa.table({}) if given is None else given
    return SampleRequest(np.arange(first, first + rows), key, given, np.ones((rows, given.num_columns), dtype=np.bool_))


def digest(table):
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table.combine_chunks())
    return hashlib.sha256(sink.getvalue()).hexdigest()


each = pytest.mark.parametrize("key", built_in_generators())
pytestmark = pytest.mark.slow


@each
def test_the_same_seed_gives_the_same_weights_whatever_the_global_generators_hold_and_another_one_others(key, tmp_path):
    kind = registry.generator(key)
    files = []
    for place, seed in enumerate((1, 1, 2)):
        torch.manual_seed(place)
        np.random.seed(place)
        model = kind(short(kind, 3))
        model.fit(train_data(kind.modality), seed=seed, device="cpu", progress=lambda step, steps, loss: None)
        folder = tmp_path / str(place)
        folder.mkdir()
        model.save(folder)
        files.append({p.relative_to(folder): p.read_bytes() for p in folder.rglob("*") if p.is_file()})
    assert files[0] == files[1]
    assert files[0] != files[2]


@each
def test_a_fit_reports_its_steps(key):
    kind = registry.generator(key)
    seen = []
    model = kind(short(kind, 45))
    report = model.fit(train_data(kind.modality), seed=1, device="cpu", progress=lambda *now: seen.append(now))
    assert report.steps == seen[-1][0] == seen[-1][1]
    assert np.isfinite([loss for _, loss in report.losses]).all()


@each
def test_sampling_twice_gives_the_same_rows_and_another_key_or_batch_others(key):
    model = fitted(key)
    first = digest(model.sample(request_for(model)).table)
    assert digest(model.sample(request_for(model)).table) == first
    assert digest(model.sample(request_for(model, key=6)).table) != first
    assert digest(model.sample(request_for(model, first=model.micro_batch)).table) != first


@each
def test_sampling_leaves_the_global_generators_alone(key):
    model = fitted(key)
    before = torch.random.get_rng_state().clone(), np.random.get_state()[1].copy()
    model.sample(request_for(model))
    assert torch.equal(torch.random.get_rng_state(), before[0])
    assert np.array_equal(np.random.get_state()[1], before[1])


@each
def test_the_schema_is_known_before_the_fit_and_kept(key):
    kind, model = registry.generator(key), fitted(key)
    made = model.sample(request_for(model))
    promised = kind.schema(train_data(kind.modality).schema, model.params)
    assert made.table.cast(promised.arrow).schema == promised.arrow
    assert made.table.num_rows == len(made.candidates) == model.micro_batch


@each
def test_a_saved_model_makes_the_same_rows(key, tmp_path):
    model = fitted(key)
    model.save(tmp_path)
    assert not list(tmp_path.rglob("*.p*kl"))
    loaded = type(model).load(tmp_path, model.params, device="cpu")
    assert digest(loaded.sample(request_for(model)).table) == digest(model.sample(request_for(model)).table)


@each
def test_given_cells_come_back_unchanged(key):
    model = fitted(key)
    data = train_data(model.modality)
    exact = sorted(type(model).exact_conditions(data.schema, model.params))
    for name in exact:
        values = data.table[name].drop_null()
        given = pa.table({name: values.take(pa.array(np.arange(model.micro_batch) % len(values)))})
        made = model.sample(request_for(model, given=given)).table
        assert pc.all(pc.equal(made[name], given[name])).as_py(), name


@each
def test_no_row_is_a_copy_of_its_neighbour(key):
    model = fitted(key)
    made = model.sample(request_for(model)).table
    assert len({str(row) for row in made.to_pylist()}) > 0.9 * model.micro_batch


@each
def test_it_beats_sampling_each_column_on_its_own(key):
    """The dependence that is easiest to see: the label and its picture, or income and age, go together."""
    model = fitted(key)
    data = train_data(model.modality)
    made = model.sample(request_for(model)).table
    assert dependence(made) > 0.3 * dependence(data.table)  # columns on their own: nearly 0


def dependence(table):
    """A share of variance explained: income by age, or pixels by label."""
    if "age" in table.column_names:
        kept = table.filter(pc.is_valid(table["income"]))
        return np.corrcoef(kept["age"].to_numpy(), kept["income"].to_numpy())[0, 1] ** 2
    from synthmill.pixels import decode_image

    pixels = np.stack([np.asarray(decode_image(cell["bytes"])).ravel() for cell in table["image"].to_pylist()]).astype(
        float
    )
    labels = table["label"].to_numpy()
    means = np.stack([pixels[labels == label].mean(0) for label in np.unique(labels)])
    within = np.mean([pixels[labels == label].var(0).sum() for label in np.unique(labels)])
    return means.var(0).sum() / (means.var(0).sum() + within)


@each
def test_memory_is_declared(key):
    kind = registry.generator(key)
    data = train_data(kind.modality)
    assert 2**20 < kind.memory_bytes(data.schema, kind.Params.parse({})) < 2**36
