"""table/vae at tiny sizes: it learns dependence, meets conditions exactly, and its rows are a function of key and candidate."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch

from generators.nets.autoregressive import Uniforms
from generators.nets.tokens import RowTokens, Vocabulary, row_tokens
from generators.nets.vaeac import Noise, Vaeac, initialised
from generators.table.vae import VAE
from synthmill.codecs.table import Part
from synthmill.columns import Column, Schema
from synthmill.errors import FitError, RecipeError
from synthmill.generator import SampleRequest, TrainData
from synthmill.seeds import normals, uniforms

ROWS = 400


@pytest.fixture(scope="module", autouse=True)
def the_threads_of_the_generator() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(VAE.threads)
    yield
    torch.set_num_threads(before)


def mixed_table() -> TrainData:
    """`colour` decides `size`, `shade` (a number) and where `amount` is missing."""
    random = np.random.default_rng(0)
    colour = random.choice(["blue", "red"], ROWS, p=[0.7, 0.3])
    is_red = colour == "red"
    kinds = {
        "key": ("id", "string"),
        "colour": ("category", "string"),
        "is_large": ("boolean", "bool"),
        "shade": ("number", "double"),
        "grade": ("integer", "int64"),
        "amount": ("number", "double"),
    }
    cells = {
        "key": [f"k{i:06d}" for i in range(ROWS)],
        "colour": colour,
        "is_large": is_red ^ (random.random(ROWS) < 0.05),
        "shade": random.normal(np.where(is_red, 4.0, -4.0), 1.0),
        "grade": random.choice([1, 2, 3], ROWS),
        "amount": pa.array(random.gamma(2, 5, ROWS).round(2), mask=is_red),
    }
    schema = Schema(columns=tuple(Column(name=n, kind=k, dtype=d, nullable=True) for n, (k, d) in kinds.items()))
    return TrainData(pa.table(cells, schema=schema.arrow), schema)


def fitted(data: TrainData, seed: int = 0, **params: object) -> VAE:
    small = {"steps": 400, "width": 32, "depth": 1, "latent": 4, "batch": 128} | params
    model = VAE(VAE.Params(**small))
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
def model(data: TrainData) -> VAE:
    return fitted(data)


def test_rows_keep_schema_dependence_and_missing_pattern(model: VAE, data: TrainData) -> None:
    made = model.sample(request(1_024)).table
    assert made.schema.equals(data.table.schema)
    frame = made.to_pandas()
    is_red = frame["colour"] == "red"
    assert abs(is_red.mean() - np.mean(np.array(data.table["colour"]) == "red")) < 0.08
    assert (frame["is_large"].astype(bool) == is_red).mean() > 0.85
    assert ((frame["shade"] > 0) == is_red).mean() > 0.9
    assert (frame["amount"].isna() == is_red).mean() > 0.9
    assert not set(frame["key"]) & set(data.table["key"].to_pylist())
    assert frame["key"].is_unique


def test_given_cells_come_back_and_the_rest_follows_them(model: VAE) -> None:
    rows = 1_024
    given = pa.table({"colour": ["red", None] * (rows // 2), "shade": [None, -4.5] * (rows // 2)})
    mask = np.tile([[True, False], [False, True]], (rows // 2, 1))
    frame = model.sample(request(rows, given, mask)).table.to_pandas()
    assert (frame["colour"][::2] == "red").all()
    assert (frame["shade"][1::2] == -4.5).all()
    assert (frame["shade"][::2] > 0).mean() > 0.9
    assert (frame["colour"][1::2] == "blue").mean() > 0.9
    assert frame["is_large"][::2].astype(bool).mean() > 0.8
    assert frame["is_large"][1::2].astype(bool).mean() < 0.2


def test_a_missing_cell_can_be_given(model: VAE) -> None:
    given = pa.table({"amount": pa.array([None] * 256, type=pa.float64())})
    frame = model.sample(request(256, given)).table.to_pandas()
    assert frame["amount"].isna().all()
    assert (frame["colour"] == "red").mean() > 0.8


def test_all_cells_given_come_back_but_for_ids(model: VAE, data: TrainData) -> None:
    given = data.table.slice(0, 100)
    made = model.sample(request(100, given)).table
    assert made.drop(["key"]).equals(given.drop(["key"]))
    assert VAE.exact_conditions(data.schema, model.params) == set(data.schema.names) - {"key"}


def test_a_given_label_that_train_lacks_is_refused(model: VAE) -> None:
    with pytest.raises(RecipeError, match="colour") as caught:
        model.sample(request(4, pa.table({"colour": ["green"] * 4})))
    assert "green" not in str(caught.value)


def test_a_row_depends_on_key_and_candidate_alone(model: VAE) -> None:
    whole = model.sample(request(256)).table
    later = model.sample(request(256, first=100)).table
    assert later.slice(0, 156).equals(whole.slice(100, 156))
    assert not model.sample(request(256, key=2)).table.equals(whole)


def test_a_neighbours_conditions_do_not_change_a_row(model: VAE) -> None:
    given = pa.table({"colour": ["red"] * 256})
    mask = np.zeros((256, 1), dtype=bool)
    mask[1::2] = True
    unconditioned, half = model.sample(request(256)).table, model.sample(request(256, given, mask)).table
    assert half.take(list(range(0, 256, 2))).equals(unconditioned.take(list(range(0, 256, 2))))


def test_a_fit_repeats_and_its_seed_matters(data: TrainData, tmp_path: Path) -> None:
    saved = []
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        torch.manual_seed(len(saved))  # the global generator must not matter
        (tmp_path / name).mkdir()
        fitted(data, seed=seed, steps=5).save(tmp_path / name)
        saved.append((tmp_path / name / "network.safetensors").read_bytes())
    assert saved[0] == saved[1] != saved[2]


def test_a_loaded_model_makes_the_same_rows(model: VAE, tmp_path: Path) -> None:
    model.save(tmp_path)
    loaded = VAE.load(tmp_path, model.params, device="cpu")
    assert loaded.sample(request(300)).table.equals(model.sample(request(300)).table)


def test_only_temperature_is_left_out_of_the_fit() -> None:
    assert VAE.Params.sampling_only() == {"temperature"}


def test_a_low_temperature_keeps_to_what_is_likely(model: VAE, tmp_path: Path) -> None:
    model.save(tmp_path)
    cold = VAE.load(tmp_path, model.params.model_copy(update={"temperature": 0.05}), device="cpu")
    frames = [m.sample(request(512)).table.to_pandas() for m in (model, cold)]
    warm_blue, cold_blue = ((frame["colour"] == "blue").mean() for frame in frames)
    warm_std, cold_std = (frame["shade"][frame["colour"] == "blue"].std() for frame in frames)
    assert cold_blue > warm_blue + 0.1  # blue is the commoner label
    assert cold_std < 0.7 * warm_std


def test_progress_and_losses(data: TrainData) -> None:
    seen: list[tuple[int, int, float]] = []
    small = VAE(VAE.Params(steps=50, width=16, depth=1, batch=64))
    report = small.fit(data, seed=0, device="cpu", progress=lambda *call: seen.append(call))
    assert [(step, steps) for step, steps, _ in seen] == [(20, 50), (40, 50), (50, 50)]
    assert report.losses == tuple((step, loss) for step, _, loss in seen)
    assert report.losses[-1][1] < report.losses[0][1]


def test_a_fit_that_diverges_says_so(data: TrainData) -> None:
    with pytest.raises(FitError, match="diverged"):
        fitted(data, steps=60, learning_rate=1e30)


SHAPES = {
    "one label": {"a": ["x", "y"] * 20},
    "one number": {"a": np.random.default_rng(0).normal(size=40)},
    "constants": {"a": [1.0] * 30, "b": ["x"] * 30, "c": pa.array([None] * 30, pa.float64())},
    "numbers": {"a": np.arange(50.0) ** 1.5, "b": np.arange(50.0)[::-1] ** 0.5},
    "labels": {"a": ["x", "y", None] * 10, "b": ["p", "q", "r"] * 10},
    "one row": {"a": [1.5], "b": ["x"]},
    "hostile names": {"": ["x", "y"] * 9, "a.b": ["x", "y"] * 9, "größe 🜚": np.arange(18.0)},
}


@pytest.mark.parametrize("cells", SHAPES.values(), ids=SHAPES)
def test_every_shape_of_table_works(cells: dict[str, object], tmp_path: Path) -> None:
    table = pa.table(cells)
    kinds = {"double": ("number", "double"), "string": ("category", "string")}
    columns = [Column(name=f.name, kind=kinds[str(f.type)][0], dtype=kinds[str(f.type)][1]) for f in table.schema]
    schema = Schema(columns=tuple(columns))
    model = fitted(TrainData(table.cast(schema.arrow), schema), steps=3)
    made = model.sample(request(64)).table
    assert made.schema.equals(schema.arrow)
    for name in schema.names:
        if pa.types.is_string(table[name].type):
            assert set(made[name].to_pylist()) <= set(table[name].to_pylist())
    model.save(tmp_path)
    assert VAE.load(tmp_path, model.params, device="cpu").sample(request(64)).table.equals(made)


@pytest.mark.parametrize("kind", ["text", "id"])
def test_what_it_cannot_make_is_refused_before_the_fit(kind: str) -> None:
    source = Schema(columns=(Column(name="note", kind=kind, dtype="string"),))  # type: ignore[arg-type]
    with pytest.raises(RecipeError, match="note" if kind == "text" else "ids"):
        VAE.schema(source, VAE.Params())


def three_labels() -> tuple[Vaeac, RowTokens]:
    """A network of random weights over one column, and a row of each label."""
    words = (Vocabulary(Part("a", 3, None, (0.0,) * 3), None),)
    network = initialised(words, seed=1, width=16, depth=1, latent=2, dropout=0.5)
    with torch.no_grad():
        network.from_latent.weight.mul_(8)  # so that the latent matters
    labels = torch.arange(3)[:, None]
    return network, row_tokens(words, labels, torch.zeros(3, 1, dtype=torch.float64))


@torch.no_grad()
def test_the_bound_lies_below_the_likelihood_and_what_is_drawn_follows_it() -> None:
    network, labels = three_labels()
    many = 20_000
    noise = Noise(
        Uniforms(*(torch.from_numpy(uniforms(7, np.arange(many), step, 1)) for step in range(3))),
        torch.from_numpy(normals(7, np.arange(many), 3, 2)).float(),
    )
    hidden = torch.zeros(many, 1, dtype=torch.bool)
    made, _ = network.sample(labels.take(torch.zeros(many, dtype=torch.int64)), hidden, noise, temperature=1.0)
    shares = torch.bincount(made[:, 0], minlength=3) / many

    rows = labels.take(torch.arange(3).repeat_interleave(many))
    ranks = torch.zeros(len(rows), 1, dtype=torch.int64)
    logs, divergence = network.bound(rows, ranks, torch.Generator().manual_seed(0), trains=False)
    log_weights = (logs[:, 0] - divergence).reshape(3, many)
    likelihoods = log_weights.logsumexp(1).sub(math.log(many)).exp()  # importance sampling by the proposal
    assert likelihoods.sum().item() == pytest.approx(1, abs=0.02)
    assert torch.allclose(likelihoods, shares, atol=0.02)
    assert (log_weights.mean(1) < likelihoods.log() - 0.01).all()
