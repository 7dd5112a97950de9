"""The training loop: budgets, best weights, and checkpoints from which a fit goes on to the same bytes."""

import copy
import time

import pytest
import torch
from support.checkpoints import Killed, Memory
from torch import nn

from generators.nets.learners import follow, set_rate, split, warm_cosine
from generators.nets.training import Budget, Learner, train
from synthmill.errors import FitError
from synthmill.generator import NO_CHECKPOINT


class Line(Learner):
    """Learns y = 3 x from noisy draws, with an average of the weights; its validation loss is a list that the test gives."""

    def __init__(self, checks=()):
        self.network = nn.Linear(1, 1)
        nn.init.zeros_(self.network.weight)
        nn.init.zeros_(self.network.bias)
        self.average = copy.deepcopy(self.network)
        self.modules = {"network": self.network, "kept": self.average}
        self.optimizer = torch.optim.AdamW(self.network.parameters(), fused=True)
        self.optimizers = (self.optimizer,)
        self.draw = torch.Generator().manual_seed(1)
        self.checks = iter(checks)

    def step(self, number, done):
        x = torch.randn((8, 1), generator=self.draw)
        set_rate(self.optimizer, 0.1 * warm_cosine(done, 0.1))
        loss = (self.network(x) - 3 * x).square().mean()
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        follow(self.average, self.network, number, 0.9)
        return loss.detach()

    def validate(self):
        return next(self.checks, None)


def fit(learner, steps=200, *, progress=lambda *now: None, checkpoint=NO_CHECKPOINT, **budget):
    return train(learner, Budget(steps, **budget), name="line", progress=progress, checkpoint=checkpoint)


def weights(learner):
    return torch.cat([parameter.detach().flatten() for parameter in learner.average.parameters()])


def test_a_fit_reaches_its_steps_and_learns():
    learner, seen = Line(), []
    report = fit(learner, progress=lambda *now: seen.append(now))
    assert (report.steps, report.stopped_by) == (200, "steps")
    assert [step for step, _ in report.losses] == list(range(20, 201, 20))
    assert seen[-1][:2] == (200, 200)
    assert weights(learner)[0].item() == pytest.approx(3, abs=0.2)


@pytest.mark.parametrize("killed_at", [20, 60, 180])
def test_a_killed_fit_goes_on_to_the_same_bytes(killed_at):
    checks = [5.0, 4.0, 6.0, 7.0, 3.0, 8.0, 9.0, 9.0, 9.0, 9.0]
    whole = Line(checks)
    report = fit(whole)

    def kill(step, steps, loss):
        if step == killed_at:
            raise Killed

    checkpoint = Memory()
    with pytest.raises(Killed):
        fit(Line(checks), progress=kill, checkpoint=checkpoint)
    resumed, seen = Line(checks[killed_at // 20 :]), []
    assert fit(resumed, progress=lambda *now: seen.append(now), checkpoint=checkpoint) == report
    assert seen[0][0] == killed_at, "says where it goes on"
    assert torch.equal(weights(resumed), weights(whole))


def test_the_best_weights_are_kept():
    at_check = []
    learner = Line([3.0, 1.0, 2.0, 2.0])

    def note(step, steps, loss):
        at_check.append(weights(learner))

    report = fit(learner, 80, progress=note)
    assert report.steps == 80
    assert torch.equal(weights(learner), at_check[1])


def test_patience_ends_a_fit():
    report = fit(Line([1.0, 2.0, 2.0, 2.0]), 2000, patience=2)
    assert report.stopped_by == "patience"
    assert report.steps == 3 * 40, "three of forty checks"


class Late(Line):
    """A device that is far behind the host: time is up only once the loss is there."""

    def step(self, number, done):
        return Waiting(super().step(number, done))


class Waiting:
    def __init__(self, loss):
        self.loss = loss

    def __radd__(self, total):
        return Waiting(total + self.loss)

    def __add__(self, other):
        return Waiting(self.loss + other.loss)

    def __float__(self):
        time.sleep(0.05)
        return float(self.loss)


def test_a_fit_that_time_ends_while_the_device_catches_up_keeps_its_last_weights():
    learner = Late()
    report = fit(learner, 10**9, max_minutes=0.04 / 60)
    assert report.stopped_by == "time"
    assert weights(learner)[0].item() != 0


def test_a_validation_loss_that_is_not_finite_is_an_error():
    with pytest.raises(FitError, match="no finite likelihood"):
        fit(Line([float("nan")]))


def test_time_ends_a_fit_and_counts_over_kills():
    fitted = fit(Line(), 10**9, max_minutes=0.001)
    assert fitted.stopped_by == "time"
    assert fitted.steps < 10**9


def test_a_loss_that_is_not_finite_is_an_error():
    learner = Line()
    nn.init.constant_(learner.network.weight, float("nan"))
    with pytest.raises(FitError, match="line diverged by step 20 of 200"):
        fit(learner)


def test_few_rows_are_not_split():
    draw = torch.Generator().manual_seed(0)
    learned, held = split(3, draw)
    assert sorted(learned.tolist()) == sorted(held.tolist()) == [0, 1, 2]
    learned, held = split(1000, draw)
    assert len(held) == 100
    assert sorted([*learned.tolist(), *held.tolist()]) == list(range(1000))
