"""The loop that every network is trained in: budgets, early stopping with the best weights, and checkpoints.

A fit that goes on from a checkpoint takes the same steps as one that was never killed, to the same bytes on a CPU, unless the
clock is part of it (`max_minutes`).
"""

from __future__ import annotations

import copy
import json
import math
import time
from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Literal

import torch
from safetensors.torch import load, save
from torch import Tensor, nn

from synthmill.errors import FitError
from synthmill.generator import Checkpoint, FitProgress, FitReport

REPORT_EVERY = 20
"""Steps between two reports, which are the only places where the host waits for the device."""
_CHECKS = 40  # against the validation rows, in a whole fit

StoppedBy = Literal["steps", "patience", "time"]


@dataclass(frozen=True, slots=True)
class Budget:
    """When a fit ends: after `steps`, after `max_minutes`, or after `patience` checks without a better one."""

    steps: int
    max_minutes: float | None = None
    patience: int | None = None


class Learner(ABC):
    """What is trained. All that changes from step to step is in `modules`, `optimizers` and `draw`, so that a checkpoint holds it."""

    modules: Mapping[str, nn.Module]
    """By name; "kept" is the one whose weights are the fit's result."""
    optimizers: Sequence[torch.optim.Optimizer]
    draw: torch.Generator

    @abstractmethod
    def step(self, number: int, done: float) -> Tensor:
        """Optimizer step `number`, from 1; with it `done` of the fit, 0..1, is over, for schedules. Returns its loss, on the device."""

    def validate(self) -> float | None:
        """The kept weights' loss on validation rows, the same draws each time; None where there is nothing to stop by."""
        return None


@dataclass(slots=True)
class _Course:
    """How far a fit is."""

    step: int = 0
    seconds: float = 0.0
    losses: list[tuple[int, float]] = field(default_factory=list)
    best_loss: float = math.inf
    worse: int = 0  # checks since the best one


def train(learner: Learner, budget: Budget, *, name: str, progress: FitProgress, checkpoint: Checkpoint) -> FitReport:
    """Take steps until the budget is used up; then `kept` has the weights that did best. Raises FitError for a loss that is not finite."""
    return _Fit(learner, budget, name, checkpoint).run(progress)


class _Fit:
    def __init__(self, learner: Learner, budget: Budget, name: str, checkpoint: Checkpoint) -> None:
        self.learner, self.budget, self.name, self.checkpoint = learner, budget, name, checkpoint
        self.course = _Course()
        self.best = copy.deepcopy(learner.modules["kept"].state_dict())
        self.check_every = max(1, budget.steps // (_CHECKS * REPORT_EVERY)) * REPORT_EVERY
        if (saved := checkpoint.read()) is not None:
            self._restore(saved)
        self.started = time.monotonic() - self.course.seconds

    def run(self, progress: FitProgress) -> FitReport:
        course, steps = self.course, self.budget.steps
        saved_at, total, stopped_by = time.monotonic(), 0.0, None
        if course.step:
            progress(course.step, steps, course.losses[-1][1])
        while stopped_by is None:
            course.step += 1
            total = total + self.learner.step(course.step, self._done())
            if course.step % REPORT_EVERY and not self._ended():
                continue
            loss = float(total) / (
                (course.step - 1) % REPORT_EVERY + 1
            )  # waits for the device, so time may be up only now
            self._report(loss)
            stopped_by = self._ended()
            if course.step % self.check_every == 0 or stopped_by:
                self._check()
            if stopped_by is None and self.budget.patience and course.worse >= self.budget.patience:
                stopped_by = "patience"
            if stopped_by is None and time.monotonic() - saved_at >= self.checkpoint.every_s:
                self.checkpoint.write(self._state())
                saved_at = time.monotonic()
            progress(course.step, course.step if stopped_by else steps, loss)
            total = 0.0
        self.learner.modules["kept"].load_state_dict(self.best)
        return FitReport(course.step, stopped_by, tuple(course.losses))

    def _share_of_time(self) -> float:
        self.course.seconds = time.monotonic() - self.started
        return self.course.seconds / (60 * self.budget.max_minutes) if self.budget.max_minutes else 0.0

    def _done(self) -> float:
        """A budget of time decays the rate to its end, too."""
        return min(1.0, max(self.course.step / self.budget.steps, self._share_of_time()))

    def _ended(self) -> Literal["steps", "time"] | None:
        if self.course.step == self.budget.steps:
            return "steps"
        return "time" if self._share_of_time() >= 1 else None

    def _report(self, loss: float) -> None:
        if not math.isfinite(loss):
            where = f"step {self.course.step} of {self.budget.steps}"
            raise FitError(f"{self.name} diverged by {where}", hint="lower params.learning_rate")
        self.course.losses.append((self.course.step, loss))

    @torch.no_grad()
    def _check(self) -> None:
        """Keep these weights if none did better on the validation rows; where there is no such loss, the last ones are the best."""
        loss = self.learner.validate()
        if loss is not None and not math.isfinite(loss):
            what = f"{self.name} gives validation rows no finite likelihood at step {self.course.step}"
            raise FitError(what, hint="lower params.learning_rate")
        self.course.worse += 1
        if loss is None or loss < self.course.best_loss:
            self.best = copy.deepcopy(self.learner.modules["kept"].state_dict())
            self.course.worse = 0
            self.course.best_loss = math.inf if loss is None else loss

    # checkpoints ------------------------------------------------------------------------------------------------------

    def _state(self) -> bytes:
        tensors = {f"best/{name}": tensor for name, tensor in self.best.items()}
        tensors["draw"] = self.learner.draw.get_state()
        for key, module in self.learner.modules.items():
            tensors |= {f"module/{key}/{name}": tensor for name, tensor in module.state_dict().items()}
        for place, optimizer in enumerate(self.learner.optimizers):
            for index, moments in optimizer.state_dict()["state"].items():
                tensors |= {f"optimizer/{place}/{index}/{name}": moment for name, moment in moments.items()}
        tensors["course"] = torch.frombuffer(bytearray(json.dumps(asdict(self.course)).encode()), dtype=torch.uint8)
        whole = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
        return save(whole, metadata={"step": str(self.course.step)})  # for those who read no tensors

    def _restore(self, saved: bytes) -> None:
        tensors = load(saved)
        course = json.loads(tensors.pop("course").numpy().tobytes())
        self.course = _Course(**course | {"losses": [(step, loss) for step, loss in course["losses"]]})
        self.learner.draw.set_state(tensors.pop("draw"))
        self.best = {name: tensor.to(self.best[name].device) for name, tensor in _under("best/", tensors).items()}
        for key, module in self.learner.modules.items():
            module.load_state_dict(_under(f"module/{key}/", tensors))
        for place, optimizer in enumerate(self.learner.optimizers):
            state: dict[int, dict[str, Tensor]] = defaultdict(dict)
            for name, moment in _under(f"optimizer/{place}/", tensors).items():
                index, _, key = name.partition("/")
                state[int(index)][key] = moment
            optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})


def _under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
