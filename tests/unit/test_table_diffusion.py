"""table/diffusion beyond the contract: numbers go together, evaluations are counted, and the process is the one it claims to be."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch

from generators.nets.denoiser import Denoiser, Rows, initialise
from generators.nets.mixed_diffusion import MixedDiffusion, Noise, noise_levels
from generators.table.diffusion import Diffusion
from synthmill.codecs.table import Part, TableCodec
from synthmill.columns import Column, Schema
from synthmill.generator import SampleRequest, TrainData
from synthmill.seeds import normals, uniforms

ROWS = 1_000
KINDS = {
    "colour": ("category", "string"),
    "shade": ("number", "double"),
    "depth": ("number", "double"),
    "grade": ("integer", "int64"),
    "amount": ("number", "double"),
}


@pytest.fixture(scope="module", autouse=True)
def the_threads_of_the_generator() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(Diffusion.threads)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def data() -> TrainData:
    """`colour` decides `shade`, and `depth` is about its cube; a tenth of `amount` is one number."""
    random = np.random.default_rng(0)
    is_red = random.random(ROWS) < 0.3
    shade = random.normal(np.where(is_red, 1.0, -1.0), 1.0)
    amount = np.where(random.random(ROWS) < 0.1, 250.5, random.gamma(2, 5, ROWS).round(2))
    cells = {
        "colour": np.where(is_red, "red", "blue"),
        "shade": shade,
        "depth": shade**3 + random.normal(0, 0.1, ROWS),
        "grade": random.choice([1, 2, 3], ROWS),
        "amount": amount,
    }
    schema = Schema(columns=tuple(Column(name=n, kind=k, dtype=d) for n, (k, d) in KINDS.items()))
    return TrainData(pa.table(cells, schema=schema.arrow), schema)


@pytest.fixture(scope="module")
def model(data: TrainData) -> Diffusion:
    model = Diffusion(Diffusion.Params(steps=800, width=64, depth=2, batch=128))
    model.fit(data, seed=0, device="cpu", progress=lambda *now: None)
    return model


def request(rows: int, given: pa.Table | None = None) -> SampleRequest:
    given = pa.table({}) if given is None else given
    return SampleRequest(np.arange(rows), 1, given, np.ones((rows, given.num_columns), dtype=bool))


def test_numbers_go_together_and_are_not_copied(model: Diffusion, data: TrainData) -> None:
    frame = model.sample(request(1_024)).table.to_pandas()
    assert frame["shade"].corr(frame["depth"], method="spearman") > 0.95
    assert abs((frame["colour"] == "red").mean() - 0.3) < 0.06
    means = [frame["shade"][frame["colour"] == colour].mean() for colour in ("blue", "red")]
    assert means == pytest.approx([-1, 1], abs=0.25)
    assert abs((frame["amount"] == 250.5).mean() - 0.1) < 0.04
    assert np.isin(frame["shade"], data.table["shade"].to_numpy()).mean() < 0.05


def test_what_is_made_goes_with_numbers_that_are_given(model: Diffusion) -> None:
    deep = model.sample(request(512, pa.table({"depth": [8.0] * 512}))).table.to_pandas()
    assert deep["shade"].mean() == pytest.approx(2, abs=0.4)
    assert deep["shade"].std() < 0.5
    assert (deep["colour"] == "red").mean() > 0.85  # 0.3 of all


def test_only_evaluations_tries_and_temperature_are_left_out_of_the_fit() -> None:
    assert Diffusion.Params.sampling_only() == {"evaluations", "temperature", "tries"}


@pytest.mark.parametrize("evaluations", [2, 3, 7, 20])
def test_no_row_takes_more_evaluations_than_asked(model: Diffusion, evaluations: int, tmp_path: Path) -> None:
    model.save(tmp_path)
    quick = Diffusion.load(tmp_path, model.params.model_copy(update={"evaluations": evaluations}), device="cpu")
    denoiser, course = quick._network.denoiser, quick._network.course(evaluations)
    assert denoiser is not None
    calls: list[int] = []
    denoiser.register_forward_hook(lambda *call: calls.append(1))
    assert quick.sample(request(64)).table.num_rows == 64
    assert len(calls) == course.steps == evaluations - len(course.rounds)
    assert [i for places in course.rounds for i in places] == list(range(len(quick._network.order)))


class Known(Denoiser):
    """What the best network would answer where scores are normal, of mean 0.5 and standard deviation 0.8."""

    def __init__(self) -> None:
        super().__init__([Part("a", 1, 0, (0.0,))], 1, [0], width=8, depth=1)

    def forward(self, rows: Rows, sigma: torch.Tensor) -> torch.Tensor:
        share = 0.64 / (0.64 + sigma.square())
        return share * rows.scores + (1 - share) * 0.5


def test_a_perfect_denoiser_gives_the_distribution_in_ten_steps() -> None:
    network = MixedDiffusion([Part("a", 1, 0, (0.0,))], width=8, depth=1, dropout=0.0)
    network.denoiser = Known()
    rows, course = 20_000, network.course(10)
    starts, scores = (torch.from_numpy(normals(3, np.arange(rows), i, 1).astype(np.float32)) for i in range(2))
    nothing = torch.zeros(rows, 1, dtype=torch.int64), torch.zeros(rows, 1)
    noise = Noise(torch.zeros(rows, 1), starts, scores)
    with torch.no_grad():
        _, values = network.sample(nothing, torch.zeros(rows, 1, dtype=torch.bool), noise, course, 1.0)
    assert course.steps == 10
    assert values.mean().item() == pytest.approx(0.5, abs=0.02)
    assert values.std().item() == pytest.approx(0.8, abs=0.02)


def test_codes_follow_the_networks_probabilities(data: TrainData) -> None:
    parts = TableCodec.fit(data.table, data.schema).parts
    network = MixedDiffusion(parts, width=16, depth=1, dropout=0.0)
    initialise(network, torch.Generator().manual_seed(0))
    first, draws, course = network.order[0], 20_000, network.course(20)
    shape = (draws, len(parts))
    codes_noise = torch.from_numpy(uniforms(7, np.arange(draws), 0, len(parts)))
    noise = Noise(codes_noise, *torch.zeros(2, draws, len(network.numbers)))
    nothing = torch.zeros(shape, dtype=torch.int64), torch.zeros(shape)
    seen = torch.zeros(shape, dtype=torch.bool)
    with torch.no_grad():
        codes, _ = network.sample(nothing, seen, noise, course, 1.0)
        assert network.unmasker is not None
        [logits] = network.unmasker.of([0], network.rows(*nothing, seen), (network.places < 0).expand(shape))
    shares = torch.bincount(codes[:, first], minlength=parts[first].size) / draws
    assert torch.allclose(shares, torch.softmax(logits[0], 0), atol=0.015)


def test_noise_levels_fall_by_one_factor() -> None:
    logs = noise_levels(12).log()
    assert len(logs) == 12
    assert (logs.diff() < -0.1).all()
    assert torch.allclose(logs.diff(), logs.diff()[:1].expand(11), atol=1e-4)
