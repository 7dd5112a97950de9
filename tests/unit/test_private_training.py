"""DP-SGD: clipped by row, noisy as calibrated, accounted as by opacus, and the fit of table/llm under it."""

import math

import numpy as np
import pytest
import torch
from opacus.accountants import RDPAccountant
from opacus.accountants.utils import get_noise_multiplier
from support.described import DESCRIBED
from support.tables import mixed

from generators.nets.autoregressive import Autoregressive, initialise, random_ranks
from generators.nets.private import Mechanism, PrivateLearner, Secret, asking_noise, calibrate, clipped_sum
from generators.nets.private_table import vocabularies
from generators.nets.tokens import row_tokens
from generators.table.llm import LLM
from synthmill.codecs.table import Part
from synthmill.columns import Schema
from synthmill.errors import FitError
from synthmill.generator import NO_CHECKPOINT, Promise, TrainData

PARTS = (
    Part("a", 3, None, (0.0, 0.0, 0.0)),
    Part("b", 3, 2, (-0.5, 0.7, 0.0)),
    Part("c", 4, None, (-1.0, 0.0, 1.0, 0.0), missing=3),
)
ROWS = 24
PROMISE = Promise(epsilon=2.0, delta=1e-5)


@pytest.fixture
def network():
    """Labels, numbers with atoms and bins, and numbers that are few: each kind of layer."""
    made = Autoregressive(vocabularies(PARTS), width=8, depth=2, dropout=0.5)
    initialise(made, torch.Generator().manual_seed(0))
    return made


def losses_of(network, rows):
    """Row losses of some of 24 fixed rows, each with some columns given."""
    draw = torch.Generator().manual_seed(1)
    codes = torch.stack([torch.randint(0, part.size, (ROWS,), generator=draw) for part in PARTS], 1)
    values = torch.randn((ROWS, len(PARTS)), generator=draw, dtype=torch.float64)
    tokens = row_tokens(network.words, codes, values).take(rows)
    ranks = random_ranks(network.places, ROWS, draw)[rows]
    return -(network.log_prob(tokens, ranks) * (ranks >= 0)).sum(1)


def sum_of(network, rows, bound):
    rows = torch.as_tensor(rows)
    sums, _ = clipped_sum(network, lambda: losses_of(network, rows), bound)
    return sums


def norm(gradients):
    return math.sqrt(sum(gradient.square().sum().item() for gradient in gradients))


def by_hand(network, rows, bound):
    """One backward a row."""
    total = [torch.zeros_like(parameter) for parameter in network.parameters()]
    for row in rows:
        network.zero_grad(set_to_none=False)
        for parameter in network.parameters():
            parameter.grad = torch.zeros_like(parameter)
        losses_of(network, torch.tensor([row])).sum().backward()
        own = [parameter.grad for parameter in network.parameters()]
        for place, gradient in enumerate(own):
            total[place] += gradient * min(1.0, bound / norm(own))
    return total


@pytest.mark.parametrize("clipped", [0.0, 0.5, 1.0])
def test_the_clipped_sum_is_that_of_one_backward_a_row(network, clipped):
    norms = [norm(by_hand(network, [row], math.inf)) for row in range(ROWS)]
    bound = {0.0: 2 * max(norms), 0.5: float(np.median(norms)), 1.0: min(norms) / 2}[clipped]
    got, wanted = sum_of(network, range(ROWS), bound), by_hand(network, range(ROWS), bound)
    for one, other in zip(got, wanted, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-5 * bound)


def test_no_row_weighs_more_than_the_bound(network):
    for row in range(ROWS):
        assert norm(sum_of(network, [row], 0.7)) <= 0.7 * (1 + 1e-5)


def test_one_row_more_moves_the_sum_by_the_bound_at_most(network):
    without, with_row = sum_of(network, range(1, ROWS), 0.7), sum_of(network, range(ROWS), 0.7)
    moved = [one - other for one, other in zip(with_row, without, strict=True)]
    assert 0 < norm(moved) <= 0.7 * (1 + 1e-4)


def learner(network, mechanism, rows=ROWS, secret=b"a", bound=0.5):
    def losses(taken, draw):
        return losses_of(network, taken)

    return PrivateLearner(network, losses, rows, mechanism, Secret(secret), max_grad_norm=bound, learning_rate=1e-3)


def test_the_noise_is_that_of_the_mechanism(network):
    made = learner(network, Mechanism(asking_noise=1.0, noise=3.0, sample_rate=0.5, steps=10), bound=0.5)
    zeros = [torch.zeros_like(parameter) for parameter in network.parameters()]
    noise = [torch.cat([part.flatten() for part in made.noisy(zeros, step)]) for step in range(1, 5)]
    all_steps = torch.cat(noise)
    assert all_steps.std().item() == pytest.approx(1.5, rel=4 / math.sqrt(2 * len(all_steps)))
    assert abs(np.corrcoef(torch.stack(noise))[0, 1:]).max() < 4 / math.sqrt(len(noise[0]))
    again = learner(network, made.mechanism, bound=0.5).noisy(zeros, 1)
    assert torch.equal(torch.cat([part.flatten() for part in again]), noise[0])


def test_a_step_takes_each_row_by_chance_and_moves_by_noise_where_it_takes_none(network):
    made = learner(network, Mechanism(1.0, 3.0, 0.25, 10))
    seen = []
    made.row_losses = lambda taken, draw: (seen.append(len(taken)), losses_of(network, taken))[1]
    before = [parameter.detach().clone() for parameter in network.parameters()]
    for number in range(1, 101):
        made.step(number, 0.5)
    assert len(set(seen)) > 3  # the size of a sample is itself by chance
    assert sum(seen) == pytest.approx(100 * ROWS * 0.25, rel=0.2)
    nothing = learner(network, Mechanism(1.0, 3.0, 1e-12, 10))
    nothing.step(1, 0.5)
    assert not any(torch.equal(a, b) for a, b in zip(before, network.parameters(), strict=True))


def test_noise_is_told_by_the_secret_alone():
    one, other = Secret(b"a"), Secret(b"b")
    assert np.array_equal(one.normals("x", 100), one.normals("x", 100))
    assert abs(np.corrcoef(one.normals("x", 10_000), other.normals("x", 10_000))[0, 1]) < 0.04
    assert abs(np.corrcoef(one.normals("x", 10_000), one.normals("y", 10_000))[0, 1]) < 0.04
    assert one.normals("x", 200_000).std() == pytest.approx(1, abs=0.01)


@pytest.mark.parametrize("epsilon", [0.5, 8.0])
def test_the_account_is_that_of_opacus(epsilon):
    """Its accountant, step by step, gives what we promise; and without the counts its own calibration gives our noise."""
    promise = Promise(epsilon, 1e-5)
    asking = asking_noise(promise)
    made = calibrate(promise, asking=asking, sample_rate=0.05, steps=200)
    accountant = RDPAccountant()
    accountant.step(noise_multiplier=asking, sample_rate=1.0)
    for _ in range(200):
        accountant.step(noise_multiplier=made.noise, sample_rate=0.05)
    spent = accountant.get_epsilon(1e-5)
    assert made.epsilon(1e-5) == pytest.approx(spent, rel=5e-3)
    assert 0.98 * epsilon < made.epsilon(1e-5) <= epsilon
    free = calibrate(promise, asking=1e9, sample_rate=0.05, steps=200)
    theirs = get_noise_multiplier(
        target_epsilon=epsilon, target_delta=1e-5, sample_rate=0.05, steps=200, accountant="rdp"
    )
    assert free.noise == pytest.approx(theirs, rel=0.02)
    assert made.noise > free.noise


@pytest.mark.parametrize(("epsilon", "delta"), [(0.005, 1e-6), (0.001, 1e-4), (1e-9, 1e-300)])
def test_an_epsilon_that_no_noise_keeps_is_refused_and_the_least_is_said(epsilon, delta):
    def noise(promise):
        return calibrate(promise, asking=asking_noise(promise), sample_rate=0.25, steps=800)

    with pytest.raises(FitError, match=f"epsilon of {epsilon:g}") as error:
        noise(Promise(epsilon, delta))
    least = float(error.value.hint.split()[3])
    assert noise(Promise(least, delta)).epsilon(delta) <= least


def test_a_fit_that_ends_early_spent_less():
    made = calibrate(PROMISE, asking=10.0, sample_rate=0.1, steps=200)
    assert made.epsilon(1e-5, 50) < made.epsilon(1e-5, 100) < made.epsilon(1e-5)


# table/llm ----------------------------------------------------------------------------------------------------------------


def fit(tmp_path, name, *, table=None, secret=b"s" * 32, progress=lambda *now: None, checkpoint=NO_CHECKPOINT):
    model = LLM(LLM.Params(epsilon=8.0, delta=1e-4, steps=60, width=16))
    data = TrainData(mixed(600) if table is None else table, DESCRIBED, secret=secret)
    report = model.fit(data, seed=0, device="cpu", progress=progress, checkpoint=checkpoint)
    folder = tmp_path / name
    folder.mkdir()
    model.save(folder)
    return model, report, {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def test_a_private_fit_keeps_its_promise_and_says_how(tmp_path):
    _, report, files = fit(tmp_path, "one")
    privacy = report.privacy
    assert 0.98 * 8.0 < privacy.epsilon <= 8.0
    assert (privacy.delta, privacy.steps, report.stopped_by) == (1e-4, 60, "steps")
    assert fit(tmp_path, "again")[2] == files
    other = fit(tmp_path, "other", secret=b"t" * 32)[2]
    assert all(other[name] != files[name] for name in ("codec.safetensors", "network.safetensors"))


def test_what_is_read_off_rows_without_noise_is_no_part_of_a_private_model(tmp_path):
    """Neither trees that have seen train, nor which cells it never has together; 1,500 rows would have both."""
    model = LLM(LLM.Params(epsilon=8.0, delta=1e-4, steps=2, width=16))
    model.fit(TrainData(mixed(1_500), DESCRIBED, secret=b"s" * 32), seed=0, device="cpu", progress=lambda *now: None)
    model.save(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {
        "codec.json",
        "codec.safetensors",
        "bins.safetensors",
        "network.safetensors",
    }


@pytest.mark.parametrize("names", [("city",), ("income",), ("city", "member")])
def test_few_columns_and_labels_alone_are_learnt(names):
    """A row whose only column is given teaches nothing, and a table of labels has no curves of numbers."""
    schema = Schema(columns=tuple(DESCRIBED[name] for name in names))
    model = LLM(LLM.Params(epsilon=8.0, delta=1e-4, steps=5, width=16))
    data = TrainData(mixed(300).select(names), schema, secret=b"s" * 32)
    report = model.fit(data, seed=0, device="cpu", progress=lambda *now: None)
    assert all(math.isfinite(loss) and loss > 0 for _, loss in report.losses)
    assert all(weight.isfinite().all() for weight in model._network.parameters())


class _Memory:
    every_s = 0.0

    def __init__(self):
        self.data = None

    def read(self):
        return self.data

    def write(self, data):
        self.data = data


def test_a_killed_private_fit_goes_on_to_the_same_bytes(tmp_path):
    class Killed(Exception):
        pass

    def kill(step, steps, loss):
        if step == 40:
            raise Killed

    memory = _Memory()
    with pytest.raises(Killed):
        fit(tmp_path, "killed", progress=kill, checkpoint=memory)
    assert memory.data is not None
    assert fit(tmp_path, "resumed", checkpoint=memory)[2] == fit(tmp_path, "whole")[2]
