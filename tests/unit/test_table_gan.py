"""table/gan at tiny sizes: nothing collapses, conditions are met exactly, and the game between the players is the one it claims to be."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch

from generators.nets.adversarial import Noise, Players, flat_from_tensors, flat_vocabularies, game, initialise
from generators.nets.tokens import RowTokens, row_tokens, to_tensors
from generators.table.gan import GAN
from synthmill import seeds
from synthmill.codecs.table import TableCodec
from synthmill.columns import Column, Schema
from synthmill.errors import FitError, RecipeError
from synthmill.generator import NO_CHECKPOINT, Checkpoint, FitReport, SampleRequest, TrainData

ROWS = 2_000
KINDS = {
    "key": ("id", "string"),
    "colour": ("category", "string"),
    "is_large": ("boolean", "bool"),
    "shade": ("number", "double"),
    "grade": ("integer", "int64"),
    "amount": ("number", "double"),
}


@pytest.fixture(scope="module", autouse=True)
def the_threads_of_the_generator() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(GAN.threads)
    yield
    torch.set_num_threads(before)


def schema_of(kinds: dict[str, tuple[str, str]]) -> Schema:
    return Schema(columns=tuple(Column(name=n, kind=k, dtype=d, nullable=True) for n, (k, d) in kinds.items()))


@pytest.fixture(scope="module")
def data() -> TrainData:
    """`colour`, of which a fiftieth is gold, decides `is_large`, `shade` (two far modes), and where `amount` is missing or a spike."""
    random = np.random.default_rng(0)
    colour = random.choice(["blue", "gold", "red"], ROWS, p=[0.68, 0.02, 0.3])
    is_red, is_gold = colour == "red", colour == "gold"
    amount = np.where(random.random(ROWS) < 0.1, 250.5, random.gamma(2, 5, ROWS).round(2))
    cells = {
        "key": [f"k{i:06d}" for i in range(ROWS)],
        "colour": colour,
        "is_large": (is_red | is_gold) ^ (random.random(ROWS) < 0.05),
        "shade": random.normal(np.where(is_red, 4.0, -4.0), 1.0),
        "grade": random.choice([1, 2, 3], ROWS) + 10 * is_gold,
        "amount": pa.array(amount, mask=is_red),
    }
    schema = schema_of(KINDS)
    return TrainData(pa.table(cells, schema=schema.arrow), schema)


def fit(model: GAN, data: TrainData, checkpoint: Checkpoint = NO_CHECKPOINT) -> FitReport:
    return model.fit(data, seed=0, device="cpu", progress=lambda *now: None, checkpoint=checkpoint)


def fitted(data: TrainData, **params: object) -> GAN:
    small = {"steps": 300, "width": 32, "batch": 128, "dropout": 0.1} | params
    model = GAN(GAN.Params(**small))
    fit(model, data)
    return model


@pytest.fixture(scope="module")
def model(data: TrainData) -> GAN:
    return fitted(data)


def request(rows: int, given: pa.Table | None = None, mask: np.ndarray | None = None, **kw: int) -> SampleRequest:
    given = pa.table({}) if given is None else given
    mask = np.ones((rows, given.num_columns), dtype=bool) if mask is None else mask
    return SampleRequest(np.arange(rows) + kw.get("first", 0), kw.get("key", 1), given, mask)


def test_rows_keep_dependence_missing_pattern_spikes_and_precision(model: GAN, data: TrainData) -> None:
    frame = model.sample(request(4_096)).table.to_pandas()
    is_red = frame["colour"] == "red"
    assert (frame["is_large"].astype(bool) == (frame["colour"] != "blue")).mean() > 0.88
    assert ((frame["shade"] > 0) == is_red).mean() > 0.93
    assert (frame["amount"].isna() == is_red).mean() > 0.95
    amounts = frame["amount"].dropna()
    assert abs((amounts == 250.5).mean() - 0.1) < 0.04
    assert np.array_equal(amounts.round(2), amounts)
    assert not set(amounts) <= set(data.table["amount"].to_pylist())  # drawn, not copied
    assert not set(frame["key"]) & set(data.table["key"].to_pylist())


def test_a_rare_label_is_neither_forgotten_nor_made_common(model: GAN) -> None:
    frame = model.sample(request(8_192)).table.to_pandas()
    shares = frame["colour"].value_counts(normalize=True)
    assert abs(shares["blue"] - 0.68) < 0.05
    assert 0.01 < shares["gold"] < 0.04
    assert (frame["grade"][frame["colour"] == "gold"] > 10).mean() > 0.8
    assert (frame["grade"][frame["colour"] != "gold"] > 10).mean() < 0.01


def test_given_cells_come_back_and_the_rest_follows_them(model: GAN) -> None:
    rows = 1_024
    given = pa.table({"colour": ["red", None] * (rows // 2), "shade": [None, -4.5] * (rows // 2)})
    mask = np.tile([[True, False], [False, True]], (rows // 2, 1))
    frame = model.sample(request(rows, given, mask)).table.to_pandas()
    assert (frame["colour"][::2] == "red").all()
    assert (frame["shade"][1::2] == -4.5).all()
    assert (frame["shade"][::2] > 0).mean() > 0.9
    assert (frame["colour"][1::2] != "red").mean() > 0.95
    assert frame["is_large"][::2].astype(bool).mean() > 0.85
    assert frame["is_large"][1::2].astype(bool).mean() < 0.2


def test_a_missing_cell_can_be_given(model: GAN) -> None:
    frame = model.sample(
        request(256, pa.table({"amount": pa.array([None] * 256, type=pa.float64())}))
    ).table.to_pandas()
    assert frame["amount"].isna().all()
    assert (frame["colour"] == "red").mean() > 0.9


def test_all_cells_given_come_back_but_for_ids(model: GAN, data: TrainData) -> None:
    given = data.table.slice(0, 100)
    assert model.sample(request(100, given)).table.drop(["key"]).equals(given.drop(["key"]))
    assert GAN.exact_conditions(data.schema, model.params) == set(data.schema.names) - {"key"}


def test_a_given_label_that_train_lacks_is_refused(model: GAN) -> None:
    with pytest.raises(RecipeError, match="colour") as caught:
        model.sample(request(4, pa.table({"colour": ["green"] * 4})))
    assert "green" not in str(caught.value)


def test_a_row_depends_on_key_candidate_and_its_own_conditions_alone(model: GAN) -> None:
    whole = model.sample(request(256)).table
    assert model.sample(request(256, first=100)).table.slice(0, 156).equals(whole.slice(100, 156))
    mask = np.zeros((256, 1), dtype=bool)
    mask[1::2] = True
    half = model.sample(request(256, pa.table({"colour": ["red"] * 256}), mask)).table
    assert half.take(list(range(0, 256, 2))).equals(whole.take(list(range(0, 256, 2))))


def test_a_low_temperature_keeps_to_what_is_likely(model: GAN, tmp_path: Path) -> None:
    model.save(tmp_path)
    cold = GAN.load(tmp_path, model.params.model_copy(update={"temperature": 0.05}), device="cpu")
    frames = [m.sample(request(512)).table.to_pandas() for m in (model, cold)]
    warm_blue, cold_blue = ((frame["colour"] == "blue").mean() for frame in frames)
    assert cold_blue > warm_blue + 0.1
    assert GAN.Params.sampling_only() == {"temperature"}


SHAPES = {
    "one label": {"a": ["x", "y"] * 20},
    "one number": {"a": np.random.default_rng(0).normal(size=40)},
    "constants": {"a": [1.0] * 30, "b": ["x"] * 30, "c": pa.array([None] * 30, pa.float64())},
    "numbers": {"a": np.arange(50.0) ** 1.5, "b": np.arange(50.0)[::-1] ** 0.5},
    "labels": {"a": ["x", "y", None] * 10, "b": ["p", "q", "r"] * 10},
    "one row": {"a": [1.5], "b": ["x"]},
    "ten thousand labels": {"a": [f"label {i}" for i in range(10_000)], "b": ["even", "odd"] * 5_000},
    "two hundred columns": {f"c{i}": np.random.default_rng(i).normal(size=300) for i in range(200)},
}


@pytest.mark.parametrize("cells", SHAPES.values(), ids=SHAPES)
def test_every_shape_of_table_works(cells: dict[str, object], tmp_path: Path) -> None:
    kinds = {"double": ("number", "double"), "string": ("category", "string")}
    schema = schema_of({field.name: kinds[str(field.type)] for field in pa.table(cells).schema})
    table = pa.table(cells).cast(schema.arrow)
    model = fitted(TrainData(table, schema), steps=3)
    made = model.sample(request(64)).table
    assert made.schema.equals(schema.arrow)
    model.save(tmp_path)
    assert GAN.load(tmp_path, model.params, device="cpu").sample(request(64)).table.equals(made)


class Killed(Exception):
    pass


class Memory:
    """A checkpoint in memory, written at every report; the `fatal`-th write is the last thing that the fit does."""

    every_s = 0.0

    def __init__(self, fatal: int = 0) -> None:
        self.data: bytes | None = None
        self.left = fatal

    def read(self) -> bytes | None:
        return self.data

    def write(self, data: bytes) -> None:
        self.data = data
        self.left -= 1
        if not self.left:
            raise Killed


def test_a_killed_fit_goes_on_to_the_same_weights(data: TrainData) -> None:
    params = GAN.Params(steps=80, width=16, batch=64)
    whole, resumed = GAN(params), GAN(params)
    fit(whole, data)
    memory = Memory(fatal=2)
    with pytest.raises(Killed):
        fit(GAN(params), data, memory)
    fit(resumed, data, memory)
    assert resumed.sample(request(256)).table.equals(whole.sample(request(256)).table)


def test_training_stops_by_patience_or_time_and_says_so(data: TrainData) -> None:
    small = TrainData(data.table.slice(0, 200), data.schema)
    eager = GAN.Params(steps=2_000, width=16, batch=64, dropout=0.0, learning_rate=0.02)
    assert fit(GAN(eager), small).stopped_by == "patience"
    hasty = GAN.Params(steps=100_000, width=16, max_minutes=0.005)
    assert fit(GAN(hasty), small).stopped_by == "time"


def test_a_fit_that_diverges_says_so(data: TrainData) -> None:
    with pytest.raises(FitError, match="table/gan diverged"):
        fitted(data, steps=60, learning_rate=1e30)


def random_scores(rows: int, tokens: int) -> tuple[torch.Tensor, torch.Tensor]:
    draw = torch.Generator().manual_seed(0)
    logits, odds = (torch.randn((rows, tokens), generator=draw).requires_grad_() for _ in range(2))
    return logits, odds


def test_where_the_critic_is_blind_it_loses_two_log_two_and_the_generator_rests() -> None:
    logits, _ = random_scores(5, 7)
    of_generator, of_critic = game(logits, torch.zeros(5, 7), torch.arange(5), penalty=1.0)
    assert torch.allclose(of_critic, torch.full((5,), 2 * math.log(2)))
    assert torch.allclose(of_generator, torch.zeros(5), atol=1e-6)
    of_generator.sum().backward()
    assert torch.allclose(logits.grad, torch.zeros(5, 7), atol=1e-6)


def test_the_critics_loss_is_the_mean_over_drawn_tokens() -> None:
    logits, odds = random_scores(1, 6)
    drawn = torch.multinomial(torch.softmax(logits[0], 0), 400_000, replacement=True)
    of_drawn = torch.nn.functional.softplus(odds[0, drawn]) + 0.1 * odds[0, drawn].square()
    of_real = torch.nn.functional.softplus(-odds[0, 2]) + 0.1 * odds[0, 2].square()
    of_critic = game(logits, odds, torch.tensor([2]), penalty=0.1)[1]
    assert of_critic.item() == pytest.approx((of_drawn.mean() + of_real).item(), abs=5e-3)


def test_a_right_critic_sends_the_generator_to_the_truth_at_once_even_where_it_has_forgotten_a_token() -> None:
    truth = torch.tensor([[0.6, 0.3, 0.1]])
    logits = torch.tensor([[9.0, 9.0, -9.0]], requires_grad=True)  # the third token is all but gone
    odds = truth.log() - torch.log_softmax(logits, 1)
    game(logits, odds, torch.tensor([0]), penalty=0.0)[0].sum().backward()
    assert torch.allclose(logits.grad, torch.softmax(logits, 1) - truth, atol=1e-6)


def test_neither_loss_moves_the_other_player() -> None:
    logits, odds = random_scores(3, 4)
    of_generator, of_critic = game(logits, odds, torch.tensor([0, 1, 3]), penalty=0.1)
    assert torch.autograd.grad(of_generator.sum(), odds, retain_graph=True, allow_unused=True) == (None,)
    assert torch.autograd.grad(of_critic.sum(), logits, retain_graph=True, allow_unused=True) == (None,)


def test_what_is_drawn_follows_the_generator_as_the_critic_corrects_it(data: TrainData) -> None:
    codec = TableCodec.fit(data.table, data.schema)
    encoded = codec.encode(data.table)
    words = flat_vocabularies(codec.parts, encoded.codes, encoded.values, bins=16)
    players = Players(words, width=16, dropout=0.0)
    initialise(players, torch.Generator().manual_seed(0))
    draws = 20_000
    uniforms = torch.from_numpy(seeds.uniforms(7, np.arange(draws), 0, len(words)))
    start = RowTokens(
        *(torch.zeros(draws, len(words), dtype=kind) for kind in (torch.int64, torch.int64, torch.float32))
    )
    with torch.no_grad():
        seen = torch.zeros(draws, len(words), dtype=torch.bool)
        codes, values = players.sample(start, seen, Noise(uniforms, uniforms), temperature=1.0)
        made = row_tokens(words, codes, values)
        both = [player(made, players.places.expand(draws, -1)) for player in (players.generator, players.critic)]
    for j, word in enumerate(words):  # mean promised share of each token against how often it was drawn
        promised = torch.softmax(both[0][j] + both[1][j], 1).mean(0)
        assert torch.allclose(torch.bincount(made.first[:, j], minlength=word.size) / draws, promised, atol=0.015)


def test_tokens_lead_back_to_the_cells(data: TrainData) -> None:
    codec = TableCodec.fit(data.table, data.schema)
    encoded = codec.encode(data.table)
    words = flat_vocabularies(codec.parts, encoded.codes, encoded.values, bins=16)
    rows = row_tokens(words, encoded.codes, encoded.values)
    assert not rows.fine.any()
    for j, word in enumerate(flat_from_tensors(codec.parts, to_tensors(words))):
        codes, values = word.cells(rows.first[:, j], rows.fine[:, j], torch.full((ROWS,), 0.5, dtype=torch.float64))
        assert torch.equal(codes, encoded.codes[:, j])
        assert torch.equal(word.tokens(codes, values)[0], rows.first[:, j])
        assert word.size <= word.codes + 16
