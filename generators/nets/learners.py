"""What the learners of all networks share: AdamW, the average that is kept, validation rows, and a start from saved weights."""

from __future__ import annotations

import copy
import math
from abc import abstractmethod
from pathlib import Path
from typing import Generic, TypeVar

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from generators.nets.training import Learner

NETWORK_FILE = "network.safetensors"
"""Where a generator saves its weights, so that a warm start finds them."""
PATIENCE = 10  # checks without a better one
WARM_UP = 0.02  # share of the fit until the learning rate is whole
_EMA = 0.995  # of the weights that are kept
_HELD = (50, 20_000)  # validation rows: a tenth, within these bounds

Network = TypeVar("Network", bound=nn.Module)


class AveragedLearner(Learner, Generic[Network]):
    """One network under AdamW, with a warm-up and a cosine decay; the moving average of its weights is kept. Heirs say the loss."""

    def __init__(
        self,
        network: Network,
        draw: torch.Generator,
        *,
        learning_rate: float,
        weight_decay: float = 0.01,
        warm_up: float = WARM_UP,
    ) -> None:
        self.network, self.average, self.draw = network, copy.deepcopy(network), draw
        self.learning_rate, self.warm_up = learning_rate, warm_up
        self.modules = {"network": network, "kept": self.average}
        self.optimizer = torch.optim.AdamW(
            network.parameters(), betas=(0.9, 0.99), weight_decay=weight_decay, fused=True
        )
        self.optimizers = (self.optimizer,)

    @abstractmethod
    def loss(self, done: float) -> Tensor:
        """The loss of a batch that `draw` chooses, when `done` of the fit is over."""

    def step(self, number: int, done: float) -> Tensor:
        """See Learner."""
        set_rate(self.optimizer, self.learning_rate * warm_cosine(done, self.warm_up))
        loss = self.loss(done)
        self.optimizer.zero_grad()
        torch.autograd.backward(loss)
        nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
        self.optimizer.step()
        follow(self.average, self.network, number)
        return loss.detach()

    def choose(self, rows: int, batch: int) -> Tensor:
        """Numbers of the rows of a batch, with replacement."""
        return torch.randint(rows, (min(batch, rows),), generator=self.draw, device=self.draw.device)


def bf16(device: torch.device) -> torch.autocast:
    """Products in bfloat16 on a GPU; on a CPU everything stays as it is."""
    return torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda")


def save_weights(network: nn.Module, folder: Path) -> None:
    """The same weights give the same bytes."""
    weights = {name: weight.contiguous().cpu() for name, weight in network.state_dict().items()}
    save_file(weights, folder / NETWORK_FILE)


def start_from(network: nn.Module, folder: Path | None) -> None:
    """Copy the weights of a saved model that have the same name and shape; others start anew.

    Names count columns and rows count labels, so a column put in between, or a label exchanged for another, takes over what its
    predecessor at that place had learnt: a start like any other, and a worse one than its own would be.
    """
    if folder is None:
        return
    saved, own = load_file(folder / NETWORK_FILE), network.state_dict()
    fitting = {name: weight for name, weight in saved.items() if name in own and own[name].shape == weight.shape}
    network.load_state_dict(fitting, strict=False)


def split(rows: int, draw: torch.Generator) -> tuple[Tensor, Tensor]:
    """Numbers of the rows to learn from and of the validation rows: all in both where there are too few to split."""
    low, high = _HELD
    held = min(max(rows // 10, low), high, rows // 4)
    order = torch.randperm(rows, generator=draw, device=draw.device)
    return (order[held:], order[:held]) if held else (order, order)


def set_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """The learning rate of all groups."""
    for group in optimizer.param_groups:
        group["lr"] = rate


def warm_cosine(done: float, warm_up: float) -> float:
    """The learning rate as a share of its peak: up in the first `warm_up` of the fit, then down to zero by a cosine."""
    return done / warm_up if done < warm_up else 0.5 + 0.5 * math.cos(math.pi * (done - warm_up) / (1 - warm_up))


@torch.no_grad()
def follow(average: nn.Module, network: nn.Module, number: int, decay: float = _EMA) -> None:
    """Move the exponential moving average of the weights by one step; short at first, so that the start is soon forgotten."""
    kept = min(decay, (1 + number) / (10 + number))
    torch._foreach_lerp_(list(average.parameters()), list(network.parameters()), 1 - kept)
