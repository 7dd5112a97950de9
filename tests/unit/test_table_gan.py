"""table/gan at tiny sizes: no label is lost, and the game between the players is the one it claims to be."""

from __future__ import annotations

import math
from collections.abc import Iterator

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
from synthmill.generator import SampleRequest, TrainData

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


def request(rows: int) -> SampleRequest:
    return SampleRequest(np.arange(rows), 1, pa.table({}), np.ones((rows, 0), dtype=bool))


def test_a_rare_label_is_neither_forgotten_nor_made_common(data: TrainData) -> None:
    model = GAN(GAN.Params(steps=300, width=32, batch=128, dropout=0.1))
    model.fit(data, seed=0, device="cpu", progress=lambda *now: None)
    frame = model.sample(request(8_192)).table.to_pandas()
    shares = frame["colour"].value_counts(normalize=True)
    assert abs(shares["blue"] - 0.68) < 0.05
    assert 0.01 < shares["gold"] < 0.04
    assert (frame["grade"][frame["colour"] == "gold"] > 10).mean() > 0.8
    assert (frame["grade"][frame["colour"] != "gold"] > 10).mean() < 0.01


def test_a_fit_that_overfits_stops_by_patience(data: TrainData) -> None:
    small = TrainData(data.table.slice(0, 200), data.schema)
    eager = GAN(GAN.Params(steps=2_000, width=16, batch=64, dropout=0.0, learning_rate=0.02))
    report = eager.fit(small, seed=0, device="cpu", progress=lambda *now: None)
    assert report.stopped_by == "patience"
    assert report.steps < 1_000


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
        assert word.size <= word.codes + 2 * 16


def test_a_low_temperature_keeps_to_dense_bins_and_not_to_wide_ones() -> None:
    """Bins hold equal shares, so that their logits say nothing: the narrow ones, near the middle, are the dense ones."""
    schema = schema_of({"a": ("number", "double")})
    table = pa.table({"a": np.random.default_rng(0).normal(size=4_000)}, schema=schema.arrow)
    codec = TableCodec.fit(table, schema)
    encoded = codec.encode(table)
    players = Players(flat_vocabularies(codec.parts, encoded.codes, encoded.values, bins=40), width=16, dropout=0.0)
    for weight in players.parameters():
        torch.nn.init.zeros_(weight)
    uniforms = torch.from_numpy(seeds.uniforms(7, np.arange(4_000), 0, 2))
    start = RowTokens(*(torch.zeros(4_000, 1, dtype=kind) for kind in (torch.int64, torch.int64, torch.float32)))
    spreads = []
    for temperature in (1.0, 0.1):
        noise = Noise(uniforms[:, :1], uniforms[:, 1:])
        values = players.sample(start, torch.zeros(4_000, 1, dtype=torch.bool), noise, temperature)[1]
        spreads.append(values.std().item())
    assert spreads[0] == pytest.approx(1.0, abs=0.1)
    assert spreads[1] < 0.5
