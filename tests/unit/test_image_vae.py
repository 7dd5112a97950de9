"""image/vae: labels are kept, rows depend on nothing but their number, and what is saved samples the same bytes."""

import json

import numpy as np
import pyarrow as pa
import pytest
import torch
from sklearn.datasets import load_digits
from support.checkpoints import Killed, Memory

from generators.image.vae import ImageVAE
from generators.nets.convolution import pyramid
from generators.nets.coupling import CouplingFlow
from generators.nets.pixels import PixelLevels
from synthmill.codecs.image import Shape, read_pixels, write_images
from synthmill.columns import Column, Schema
from synthmill.errors import FitError, RecipeError, SourceError
from synthmill.generator import NO_CHECKPOINT, SampleRequest, TrainData

IMAGE = Column(name="image", kind="image", dtype="image")
LABEL = Column(name="label", kind="category", dtype="int64")
HAND = Column(name="hand", kind="category", dtype="string", nullable=True)
BOTH = Schema(columns=(IMAGE, LABEL, HAND), target="label")
BATCH = ImageVAE.micro_batch

DIGITS = load_digits()
PIXELS = np.round(DIGITS.images * (255 / 16)).astype(np.uint8)[:, None]
HANDS = np.where(DIGITS.target < 5, "left", None)  # a label that follows from the other
TABLE = pa.table({"image": write_images(PIXELS), "label": DIGITS.target, "hand": HANDS}, schema=BOTH.arrow)


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    """As the processes that fit and sample set it."""
    before = torch.get_num_threads()
    torch.set_num_threads(ImageVAE.threads)
    yield
    torch.set_num_threads(before)


def fitted(table, schema, *, seed=0, steps=4, **params):
    generator = ImageVAE(ImageVAE.Params(steps=steps, **params))
    generator.fit(TrainData(table, schema), seed=seed, device="cpu", progress=lambda step, steps, loss: None)
    return generator


def request(first=0, key=1, **given):
    """`given`: column name -> the value asked of each row; None where nothing is asked."""
    mask = np.array([[value is not None for value in column] for column in given.values()]).T.reshape(BATCH, -1)
    types = {column.name: column.arrow for column in BOTH}
    table = pa.table({name: pa.array(values, types[name]) for name, values in given.items()})
    return SampleRequest(np.arange(first, first + BATCH), key, table, mask)


@pytest.fixture(scope="module")
def digits():
    return fitted(TABLE, BOTH)


def test_given_labels_come_back_and_the_schema_is_the_sources(digits):
    asked = [row % 10 for row in range(BATCH)]
    made = digits.sample(request(label=asked))

    assert made.table.schema == BOTH.arrow
    assert made.table["label"].to_pylist() == asked
    assert made.candidates.tolist() == list(range(BATCH))


def test_a_label_that_is_not_given_agrees_with_those_that_are(digits):
    asked = [row % 10 for row in range(BATCH)]
    hands = digits.sample(request(label=asked)).table["hand"].to_pylist()

    assert hands == ["left" if label < 5 else None for label in asked]


def test_labels_given_to_some_rows_alone(digits):
    asked = [3 if row % 2 else None for row in range(BATCH)]
    labels = np.asarray(digits.sample(request(label=asked)).table["label"])

    assert (labels[1::2] == 3).all()
    assert len(np.unique(labels[::2])) == 10


def test_a_missing_label_can_be_asked(digits):
    batch = request(label=[1] * BATCH, hand=["left"] * BATCH)
    nothing = SampleRequest(
        batch.candidates, batch.key, batch.given.set_column(1, "hand", pa.nulls(BATCH, pa.string())), batch.mask
    )

    assert digits.sample(nothing).table["hand"].null_count == BATCH  # together with label 1, which train never has


def test_labels_drawn_are_as_frequent_as_in_train():
    rows = [0] * 300 + [7] * 100
    generator = fitted(TABLE.take(rows).select(["image", "label"]), Schema(columns=(IMAGE, LABEL)))
    drawn = [np.asarray(generator.sample(request(first=BATCH * i)).table["label"]) for i in range(8)]
    zeros, seven = 0, int(DIGITS.target[7])

    assert np.mean(np.concatenate(drawn) == zeros) == pytest.approx(0.75, abs=0.04)
    assert set(np.concatenate(drawn)) == {zeros, seven}


def test_an_unknown_label_is_refused(digits):
    with pytest.raises(SourceError, match="column label is given a label that train does not have"):
        digits.sample(request(label=[12] * BATCH))


def test_a_row_depends_on_its_number_and_labels_alone(digits):
    asked = [row % 10 for row in range(BATCH)]
    batch = digits.sample(request(label=asked)).table
    order = np.random.default_rng(0).permutation(BATCH)
    other = SampleRequest(order, 1, pa.table({"label": order % 10}), np.ones((BATCH, 1), bool))

    assert digits.sample(other).table.equals(batch.take(order))
    assert not digits.sample(request(key=2, label=asked)).table.equals(batch)
    assert not digits.sample(request(first=BATCH, label=asked)).table.equals(batch)


def test_a_saved_model_samples_the_same_bytes(digits, tmp_path):
    digits.save(tmp_path)
    loaded = ImageVAE.load(tmp_path, digits.params, device="cpu")

    assert loaded.sample(request()).table.equals(digits.sample(request()).table)
    assert {path.suffix for path in tmp_path.iterdir()} == {".json", ".safetensors"}


def test_the_same_fit_writes_the_same_bytes_and_another_seed_does_not(digits, tmp_path):
    def saved(generator, name):
        (tmp_path / name).mkdir()
        generator.save(tmp_path / name)
        return [path.read_bytes() for path in sorted((tmp_path / name).iterdir())]

    torch.manual_seed(99)  # torch's own randomness has no say
    first, again, other = saved(digits, "a"), saved(fitted(TABLE, BOTH), "b"), saved(fitted(TABLE, BOTH, seed=1), "c")
    assert first == again
    assert first != other


def test_temperature_is_a_sampling_parameter_that_narrows(digits, tmp_path):
    assert ImageVAE.Params.sampling_only() == {"temperature"}
    digits.save(tmp_path)
    cool = ImageVAE.load(tmp_path, ImageVAE.Params(temperature=0.01), device="cpu")
    spread = [
        read_pixels(g.sample(request(label=[3] * BATCH)).table["image"], "image", Shape(1, 8, 8)).std(0).mean()
        for g in (cool, digits)
    ]

    assert spread[0] < 0.3 * spread[1]


@pytest.mark.parametrize(("channels", "height", "width"), [(3, 9, 14), (1, 28, 28), (3, 8, 40)])
def test_any_shape_and_no_label_at_all(channels, height, width, tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (12, channels, height, width), np.uint8)
    generator = fitted(pa.table({"image": write_images(pixels)}), Schema(columns=(IMAGE,)), steps=1)
    generator.save(tmp_path)
    made = generator.sample(request()).table

    assert read_pixels(made["image"], "image", Shape(channels, height, width)).std() > 0
    assert ImageVAE.load(tmp_path, generator.params, device="cpu").sample(request()).table.equals(made)


def test_no_grey_is_made_that_train_does_not_have():
    pixels = np.where(PIXELS > 100, 200, 50).astype(np.uint8)[:200]
    generator = fitted(pa.table({"image": write_images(pixels)}), Schema(columns=(IMAGE,)))
    made = read_pixels(generator.sample(request()).table["image"], "image", Shape(1, 8, 8))

    assert set(np.unique(made)) == {50, 200}


@pytest.mark.parametrize(("height", "width"), [(7, 8), (8, 65)])
def test_sizes_out_of_range_are_refused(height, width):
    table = pa.table({"image": write_images(np.zeros((2, 1, height, width), np.uint8))})
    with pytest.raises(SourceError, match=f"images are {width}x{height}, image/vae takes 8 to 64"):
        fitted(table, Schema(columns=(IMAGE,)))


def test_other_columns_are_refused_before_any_fit():
    age = Column(name="age", kind="number", dtype="double")
    with pytest.raises(RecipeError, match="cannot make column age of kind number"):
        ImageVAE.schema(Schema(columns=(IMAGE, age)), ImageVAE.Params())
    with pytest.raises(RecipeError, match="exactly one image column"):
        ImageVAE.schema(Schema(columns=(LABEL,)), ImageVAE.Params())
    assert ImageVAE.schema(BOTH, ImageVAE.Params()) == BOTH
    assert ImageVAE.exact_conditions(BOTH, ImageVAE.Params()) == {"label", "hand"}


def test_a_loss_that_is_no_number_stops_the_fit():
    with pytest.raises(FitError, match="image/vae diverged by step 4 of 4"):
        fitted(TABLE, BOTH, learning_rate=1e30)


def test_a_killed_fit_goes_on_to_the_same_bytes(tmp_path):
    def kill(step, steps, loss):
        assert (step, steps) == (20, 30)
        raise Killed

    def fit(name, checkpoint, progress=lambda step, steps, loss: None):
        generator = ImageVAE(ImageVAE.Params(steps=30))
        generator.fit(TrainData(TABLE, BOTH), seed=0, device="cpu", progress=progress, checkpoint=checkpoint)
        (tmp_path / name).mkdir()
        generator.save(tmp_path / name)
        return (tmp_path / name / "network.safetensors").read_bytes()

    checkpoint = Memory()
    with pytest.raises(Killed):
        fit("killed", checkpoint, kill)
    assert checkpoint.data is not None
    assert fit("resumed", checkpoint) == fit("whole", NO_CHECKPOINT)


def test_a_fit_ends_in_time():
    generator = ImageVAE(ImageVAE.Params(steps=10**6, max_minutes=0.003))
    report = generator.fit(TrainData(TABLE, BOTH), seed=0, device="cpu", progress=lambda step, steps, loss: None)
    assert report.stopped_by == "time"
    assert report.steps < 10**6


def test_the_flows_density_integrates_to_one_and_its_draws_invert():
    torch.manual_seed(0)
    flow = CouplingFlow(2, 3, couplings=3, hidden=8)
    for weight in flow.parameters():
        torch.nn.init.normal_(weight, std=0.3)
    axis = torch.linspace(-12, 12, 401)
    grid = torch.cartesian_prod(axis, axis)
    context = torch.tensor([[0.3, -1.0, 0.5]])
    with torch.no_grad():
        total = flow.log_density(grid, context.expand(len(grid), -1)).exp().sum() * (axis[1] - axis[0]) ** 2
        noise = torch.randn(50, 2)
        z = flow.draw(noise, context.expand(50, -1))
        for coupling in flow.couplings:
            z, _ = coupling(z, context.expand(50, -1))

    assert total.item() == pytest.approx(1, abs=1e-3)
    assert torch.allclose(z - flow.mean(context), noise, atol=1e-5)


def test_the_likelihood_sums_to_one_over_the_levels_and_draws_follow_it():
    levels = PixelLevels(torch.tensor([0, 10, 100, 255], dtype=torch.uint8))
    maps = torch.tensor([0.1, 0.4]).reshape(1, 2, 1, 1)
    probability = torch.cat([levels.log_probability(v.reshape(1, 1, 1, 1), maps).exp() for v in levels.values])
    chance = torch.linspace(0, 1, 100_001, dtype=torch.float64)[1:-1].reshape(-1, 1, 1, 1)
    drawn = levels.draw(chance, maps, 1.0).flatten()
    share = torch.stack([(drawn == value).double().mean() for value in levels.values])

    assert probability.sum().item() == pytest.approx(1, abs=1e-5)
    assert torch.allclose(share, probability.double(), atol=1e-4)


def test_the_likelihood_has_gradients_far_from_the_mean():
    levels = PixelLevels(torch.arange(256, dtype=torch.uint8))
    maps = torch.tensor([50.0, -200.0]).reshape(1, 2, 1, 1).requires_grad_()
    value = levels.log_probability(torch.zeros(1, 1, 1, 1, dtype=torch.uint8), maps)
    value.backward()

    assert torch.isfinite(value).all()
    assert torch.isfinite(maps.grad).all()
    assert maps.grad[0, 0] < 0


@pytest.mark.parametrize(
    ("size", "sizes"), [((8, 8), [8, 4]), ((28, 28), [28, 14, 7, 4]), ((64, 64), [64, 32, 16, 8, 4])]
)
def test_depth_follows_from_the_size(size, sizes):
    assert [height for height, _ in pyramid(*size, first=32)[0]] == sizes


def test_saved_json_holds_no_row(digits, tmp_path):
    digits.save(tmp_path)
    state = json.loads((tmp_path / "model.json").read_text())

    assert sum(state["rows"]) == TABLE.num_rows
    assert len(state["labels"]) == 10
