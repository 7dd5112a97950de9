"""table/llm's own parts: bins and tokens, the order of columns, the likelihood that it draws from, and when a fit ends."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pytest
import torch

from generators.nets.autoregressive import Autoregressive, Uniforms, initialise, invert, random_ranks
from generators.nets.mixture import Mixture
from generators.nets.tokens import Bins, RowTokens, Vocabulary, row_tokens, vocabularies
from generators.table.llm import LLM
from synthmill.codecs.table import Part, TableCodec
from synthmill.columns import Column, Schema
from synthmill.generator import SampleRequest, TrainData
from synthmill.seeds import uniforms

ROWS = 400


@pytest.fixture(scope="module", autouse=True)
def the_threads_of_the_generator() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(LLM.threads)
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


@pytest.fixture(scope="module")
def data() -> TrainData:
    return mixed_table()


def test_only_temperature_top_p_and_tries_are_left_out_of_the_fit() -> None:
    assert LLM.Params.sampling_only() == {"temperature", "top_p", "tries"}


def test_a_fit_stops_by_patience_and_keeps_its_best_weights_not_the_last(data: TrainData) -> None:
    """Overfitted on purpose, on noise: what is kept tells no row's `grade` from all else, the last weights would."""
    overfitted = LLM(LLM.Params(steps=2_400, width=32, batch=128, dropout=0.0, learning_rate=0.005))
    report = overfitted.fit(data, seed=0, device="cpu", progress=lambda step, steps, loss: None)
    assert report.stopped_by == "patience"
    assert report.steps < 2_400
    known = [name for name in data.schema.names if name not in ("key", "grade")]
    given = pa.concat_tables([data.table.select(known)] * 10)
    request = SampleRequest(np.arange(10 * ROWS), 1, given, np.ones((10 * ROWS, given.num_columns), dtype=bool))
    grades = overfitted.sample(request).table["grade"].to_numpy()
    assert (
        grades == np.tile(data.table["grade"].to_numpy(), 10)
    ).mean() < 0.355  # by chance 0.333; the last weights: 0.373


def test_top_p_keeps_the_likeliest_tokens_alone() -> None:
    logits = torch.log(torch.tensor([[0.5, 0.3, 0.15, 0.05]])).repeat(1_000, 1)
    drawn = invert(logits, torch.linspace(0.0005, 0.9995, 1_000), top_p=0.7)
    assert torch.allclose(torch.bincount(drawn, minlength=4) / 1_000, torch.tensor([0.625, 0.375, 0.0, 0.0]), atol=2e-3)


def test_inversion_meets_the_distribution_at_its_ends() -> None:
    logits = torch.log(torch.tensor([[0.25, 0.5, 0.25]])).repeat(4, 1)
    assert invert(logits, torch.tensor([1e-9, 0.26, 0.74, 1 - 1e-7])).tolist() == [0, 1, 1, 2]


def test_bins_hold_a_handful_of_rows_and_lead_back_to_themselves() -> None:
    bins = Bins.fit(torch.linspace(-3, 3, 997, dtype=torch.float64))
    scores = torch.linspace(-3, 3, 997, dtype=torch.float64)
    assert torch.bincount(bins.of(scores)).min() >= 8
    assert bins.coarse * bins.fine >= len(bins)
    everything = torch.arange(len(bins))
    assert torch.equal(bins.of(bins.draw(everything, torch.full((len(bins),), 0.5, dtype=torch.float64))), everything)


def test_a_flat_is_a_bin_of_its_own_and_comes_out_as_its_middle_and_a_single_row_does_not() -> None:
    flat, alone = (0.10, 0.14), [0.0999, 0.1401]
    many = torch.linspace(-3, 3, 998, dtype=torch.float64)
    many = many[(many < flat[0]) | (many > flat[1])]
    scores = torch.cat([many, torch.tensor([*alone, *[0.12] * 12], dtype=torch.float64)])
    bins = Bins.fit(scores, flats=[flat])
    anything = torch.rand(len(scores), dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    drawn = bins.draw(bins.of(scores), anything)
    assert (drawn[-12:] == 0.12).all()
    assert not torch.isin(drawn[:-12], scores).any()
    assert set(flat) <= set(bins.edges.tolist())


def test_bounds_ascend_and_hold_all_fine_bins() -> None:
    bins = Bins.fit(torch.randn(1_003, generator=torch.Generator().manual_seed(0)))
    bounds = bins.bounds
    assert bounds.shape == (bins.coarse, bins.fine + 1)
    assert (bounds.diff() > 0).all()
    assert torch.equal(bounds[1:, 0], bounds[:-1, -1])
    assert torch.equal(bounds.flatten().unique()[1 : len(bins)], bins.edges)


def test_atoms_lie_in_order_between_bounds_and_missing_does_not() -> None:
    few = Vocabulary(Part("few", 4, None, (-1.0, 0.25, 1.5, 0.0), missing=3), None)
    assert few.ascending == slice(0, 3)
    assert few.bounds[:, 0].tolist() == pytest.approx([-12.0, -0.375, 0.875])
    assert few.bounds[:, 1].tolist() == pytest.approx([-0.375, 0.875, 12.0])
    assert Vocabulary(Part("no gap", 3, None, (-1.0, 0.25, 1.5)), None).ascending == slice(0, 3)
    assert Vocabulary(Part("labels", 3, None, (0.0, 0.0, 0.0)), None).ascending == slice(0, 0)


def test_a_mixtures_shares_are_those_of_its_distribution_function() -> None:
    bins = Bins.fit(torch.randn(2_000, generator=torch.Generator().manual_seed(0)))
    mixture = Mixture(bins.bounds, width=4)
    shape = torch.randn((5, 18), generator=torch.Generator().manual_seed(1))
    weights, means, scales = shape.double()[:, :, None].chunk(3, 1)
    z = (bins.bounds.flatten() - means - mixture.means[:, None]) * torch.exp(0.7 - scales)
    below = (torch.softmax(weights, 1) * torch.sigmoid(z)).sum(1).view(5, bins.coarse, bins.fine + 1)
    coarse = below[..., -1] - below[..., 0]
    assert torch.allclose(mixture.log_coarse(shape).exp().double(), coarse, atol=1e-5)
    for place in (0, bins.coarse // 2):
        fine = mixture.log_fine(shape, torch.full((5,), place)).exp().double()
        assert torch.allclose(fine, below[:, place].diff(), atol=1e-5)
    assert torch.isfinite(mixture.log_coarse(50 * shape)).all()


def tokens_of(data: TrainData) -> tuple[Autoregressive, RowTokens]:
    codec = TableCodec.fit(data.table, data.schema)
    encoded = codec.encode(data.table)
    words = vocabularies(codec.parts, encoded.codes, encoded.values)
    network = Autoregressive(words, width=16, depth=1, dropout=0.0)
    initialise(network, torch.Generator().manual_seed(0))
    return network, row_tokens(words, encoded.codes, encoded.values)


def test_tokens_lead_back_to_the_cells(data: TrainData) -> None:
    codec = TableCodec.fit(data.table, data.schema)
    encoded = codec.encode(data.table)
    words = vocabularies(codec.parts, encoded.codes, encoded.values)
    rows = row_tokens(words, encoded.codes, encoded.values)
    for j, word in enumerate(words):
        codes, values = word.cells(rows.first[:, j], rows.fine[:, j], torch.full((ROWS,), 0.5, dtype=torch.float64))
        assert torch.equal(codes, encoded.codes[:, j])
        again = word.tokens(codes, values)
        assert torch.equal(torch.stack(again), torch.stack([rows.first[:, j], rows.fine[:, j]]))


def test_a_column_sees_those_before_it_and_no_others(data: TrainData) -> None:
    network, rows = tokens_of(data)
    order = torch.tensor([2, 0, 1, 4, 3]).expand(ROWS, -1)
    before = network.log_prob(rows, order)
    changed = RowTokens(rows.first.clone(), rows.fine.clone(), rows.scores.clone())
    changed.first[:, 0] = 1 - changed.first[:, 0]  # the third of the order
    moved = (network.log_prob(changed, order) != before).any(0)
    assert moved.tolist() == [True, False, False, True, True]


def test_what_is_drawn_follows_the_likelihood(data: TrainData) -> None:
    network, rows = tokens_of(data)
    draws, parts = 40_000, rows.first.shape[1]
    noise = Uniforms(*(torch.from_numpy(uniforms(7, np.arange(draws), step, parts)) for step in range(3)))
    start = RowTokens(*(torch.zeros(draws, parts, dtype=kind) for kind in (torch.int64, torch.int64, torch.float32)))
    with torch.no_grad():
        codes, values = network.sample(
            start, torch.zeros(draws, parts, dtype=torch.bool), noise, temperature=1, top_p=1
        )
        made = row_tokens(network.words, codes, values)
        for j in (1, 3):  # is_large and grade
            for token in range(network.words[j].size):
                forced = made.first.clone()
                forced[:, j] = token
                logs = network.log_prob(RowTokens(forced, made.fine, made.scores), network.places.expand(draws, -1))
                for rows_of in (made.first[:, 0] == 0, made.first[:, 0] == 1):  # what was drawn before matters
                    share = (made.first[rows_of, j] == token).float().mean()
                    assert share.item() == pytest.approx(logs[rows_of, j].exp().mean().item(), abs=0.015)


def test_half_of_the_rows_have_columns_given() -> None:
    ranks = random_ranks(torch.arange(6), 4_000, torch.Generator().manual_seed(0))
    given = (ranks == -1).sum(1)
    assert 0.45 < (given > 0).float().mean() < 0.55
    assert given.max() < 6
    assert (torch.bincount(given, minlength=6)[1:] > 0).all()
    assert ((ranks == -1) | (ranks == torch.arange(6))).all()
