"""Differentially private training: DP-SGD with Poisson sampling, gradients clipped by row, Gaussian noise, and an account of it all.

Abadi et al., "Deep learning with differential privacy" (CCS 2016), with Adam on the noisy gradients. A row's gradient is never formed:
its norm follows from what goes into each layer and what comes back (Goodfellow, 2015; Li et al., "Large language models can be strong
differentially private learners", ICLR 2022), and the clipped sum from the same two (book-keeping: Bu et al., ICML 2023), so that a step
costs little more than one without privacy.

The guarantee: two trains that differ in one row, which one of them lacks, are told apart with the given epsilon and delta at most, by
somebody who sees the weights. It is void for who knows the secret that the noise is drawn from.
"""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import singledispatch

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import ndtri
from torch import Tensor, nn

from generators.nets.autoregressive import CellEmbedding, Stacked, features
from generators.nets.learners import follow, set_rate, warm_cosine
from generators.nets.training import Learner
from synthmill.errors import FitError
from synthmill.generator import Promise

_ASKING = 0.15  # of epsilon, were it spent alone, goes to counting rows; see synthmill/codecs/private.py
_ORDERS = (*(1 + x / 5 for x in range(1, 30)), *range(7, 64), 64, 96, 128, 192, 256, 384, 512, 1024, 2048, 4096)
MOST_RATE = 0.25  # of a step's sample
_MOST_NOISE = 2.0**17  # so much that more of it takes nothing off the account
_CHUNK = 512  # rows of one pass
_EMA = 0.995
_WARM_UP = 0.02


# the account --------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Mechanism:
    """One Gaussian release of counts, then `steps` noisy gradients of Poisson samples; noise in units of the sensitivity."""

    asking_noise: float
    noise: float
    sample_rate: float
    steps: int

    def epsilon(self, delta: float, steps: int | None = None) -> float:
        """What it spends by Rényi differential privacy (Mironov, Talwar and Zhang, 2019), after `steps` of the steps."""
        taken = self.steps if steps is None else steps
        return _epsilon([(self.asking_noise, 1.0, 1), (self.noise, self.sample_rate, taken)], delta)


def asking_noise(promise: Promise) -> float:
    """How much noise the counts get. Raises FitError for an epsilon that no noise keeps."""
    return _least(lambda noise: _epsilon([(noise, 1.0, 1)], promise.delta) <= _ASKING * promise.epsilon, promise)


def calibrate(promise: Promise, *, asking: float, sample_rate: float, steps: int) -> Mechanism:
    """The least noise with which counts and steps together stay within epsilon. Raises FitError where none does."""

    def mechanism(noise: float) -> Mechanism:
        return Mechanism(asking, noise, sample_rate, steps)

    return mechanism(_least(lambda noise: mechanism(noise).epsilon(promise.delta) <= promise.epsilon, promise))


def least_epsilon(delta: float) -> float:
    """What can be promised with endless noise: the account is of finitely many orders, so that even then it can be above zero."""
    counts, steps = (_epsilon([(_MOST_NOISE, rate, 1)], delta) for rate in (1.0, MOST_RATE))
    return max(counts / _ASKING, steps)


def _epsilon(history: list[tuple[float, float, int]], delta: float) -> float:
    from opacus.accountants import RDPAccountant

    accountant = RDPAccountant()
    accountant.history = [entry for entry in history if entry[2]]
    return float(accountant.get_epsilon(delta, alphas=list(_ORDERS)))


def _least(suffices: Callable[[float], bool], promise: Promise) -> float:
    """The least noise that suffices, to a thousandth, from above; FitError where none does."""
    low, high = 0.0, 1.0
    while not suffices(high):
        if high >= _MOST_NOISE:
            what = f"no noise keeps an epsilon of {promise.epsilon:g} with a delta of {promise.delta:g}"
            least = 1.1 * least_epsilon(promise.delta)
            raise FitError(what, hint=f"raise params.epsilon to {least:.2g} or more")
        low, high = high, 2 * high
    while high - low > 1e-3 * high:
        middle = (low + high) / 2
        low, high = (low, middle) if suffices(middle) else (middle, high)
    return high


@dataclass(frozen=True, slots=True)
class Secret:
    """Noise as a function of a secret and a name, by SHAKE-128: who does not know the secret cannot tell it from chance."""

    key: bytes

    def uniforms(self, name: str, size: int) -> NDArray[np.float64]:
        """In the open interval (0, 1), 53 bits each: (size,)."""
        label = name.encode()
        digest = hashlib.shake_128(len(self.key).to_bytes(2, "little") + self.key + label).digest(8 * size)
        bits = np.frombuffer(digest, dtype="<u8") >> np.uint64(11)
        return (bits.astype(np.float64) + 0.5) * 2.0**-53

    def normals(self, name: str, size: int) -> NDArray[np.float64]:
        """Standard normals: (size,)."""
        return np.asarray(ndtri(self.uniforms(name, size)), dtype=np.float64)

    def number(self, name: str) -> int:
        """A seed of 63 bits."""
        return int(2**63 * self.uniforms(name, 1).item())


# gradients by row ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Call:
    """What went into a layer and what came out of it."""

    layer: nn.Module
    inputs: tuple[Tensor, ...]
    output: Tensor


def clipped_sum(network: nn.Module, row_losses: Callable[[], Tensor], bound: float) -> tuple[list[Tensor], Tensor]:
    """The sum over rows of gradients clipped to the norm `bound`, a tensor for each parameter of the network; and the losses (rows,)."""
    with _watched(network) as calls:
        losses = row_losses()
    outputs = [call.output for call in calls]
    returned = torch.autograd.grad(losses.sum(), outputs, retain_graph=True, materialize_grads=True)
    squares = sum(squared_norms(c.layer, c.inputs, g) for c, g in zip(calls, returned, strict=True))
    assert isinstance(squares, Tensor)
    factors = (bound / squares.sqrt().clamp_min(1e-12)).clamp(max=1.0)  # (rows,)
    sums: dict[nn.Parameter, Tensor] = {}
    for call, gradient in zip(calls, returned, strict=True):
        own = list(call.layer.parameters(recurse=False))
        scaled = gradient * _by_row(call.layer, factors, gradient.ndim)
        # a table of labels alone has no curves: a parameter of no entries, which nothing goes through
        found = torch.autograd.grad(call.output, own, scaled, retain_graph=True, materialize_grads=True)
        sums |= zip(own, found, strict=True)
    return [sums[parameter] for parameter in network.parameters()], losses.detach()


@contextmanager
def _watched(network: nn.Module) -> Iterator[list[_Call]]:
    """Every call of a layer with parameters in the block."""
    calls: list[_Call] = []

    def keep(layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        assert all(call.layer is not layer for call in calls), "the norms of two calls do not add"
        calls.append(_Call(layer, tuple(tensor.detach() for tensor in inputs), output))

    layers = [layer for layer in network.modules() if any(True for _ in layer.parameters(recurse=False))]
    hooks = [layer.register_forward_hook(keep) for layer in layers]
    try:
        yield calls
    finally:
        for hook in hooks:
            hook.remove()


def _by_row(layer: nn.Module, factors: Tensor, dimensions: int) -> Tensor:
    """(rows,) in the shape that multiplies a layer's output."""
    if isinstance(layer, Stacked):
        return factors[None, :, None]
    return factors.reshape(-1, *[1] * (dimensions - 1))


@singledispatch
def squared_norms(layer: nn.Module, inputs: tuple[Tensor, ...], gradient: Tensor) -> Tensor:
    """Squared norm of each row's gradient of the layer's own parameters, (rows,), from the gradient of its output."""
    raise NotImplementedError(f"gradients by row of {type(layer).__name__}")


@squared_norms.register
def _(layer: nn.Linear, inputs: tuple[Tensor, ...], gradient: Tensor) -> Tensor:
    """An outer product: its norm is the product of the norms; the bias sees ones."""
    return (inputs[0].square().sum(-1) + (layer.bias is not None)) * gradient.square().sum(-1)


@squared_norms.register
def _(layer: Stacked, inputs: tuple[Tensor, ...], gradient: Tensor) -> Tensor:
    return ((inputs[0].square().sum(-1) + 1) * gradient.square().sum(-1)).sum(0)  # over parts


@squared_norms.register
def _(layer: nn.Embedding, inputs: tuple[Tensor, ...], gradient: Tensor) -> Tensor:
    """A row looks up one vector."""
    return gradient.square().sum(-1)


@squared_norms.register
def _(layer: CellEmbedding, inputs: tuple[Tensor, ...], gradient: Tensor) -> Tensor:
    """Each part looks up a token of its own; for numbers the rest is linear in the score's features."""
    of_parts = gradient.square().sum(-1)  # (rows, parts)
    weights = features(inputs[1][:, layer.ordered]).square().sum(-1)
    return of_parts.sum(1) + (of_parts[:, layer.ordered] * weights).sum(1)


# the learner --------------------------------------------------------------------------------------------------------------


RowLosses = Callable[[Tensor, torch.Generator], Tensor]
"""Numbers of train rows, and a generator for draws that do not depend on rows -> the loss of each under the network; (rows,)."""


class PrivateLearner(Learner):
    """DP-SGD of a network by the losses of rows. There is no validation: early stopping would look at rows.

    All noise comes from `secret` by the step's number, so that a fit that goes on draws what it would have drawn.
    """

    def __init__(
        self,
        network: nn.Module,
        row_losses: RowLosses,
        rows: int,
        mechanism: Mechanism,
        secret: Secret,
        *,
        max_grad_norm: float,
        learning_rate: float,
    ) -> None:
        self.network, self.average, self.row_losses, self.rows = network, copy.deepcopy(network), row_losses, rows
        self.mechanism, self.secret, self.bound, self.learning_rate = mechanism, secret, max_grad_norm, learning_rate
        self.modules = {"network": network, "kept": self.average}
        self.optimizer = torch.optim.Adam(network.parameters(), betas=(0.9, 0.99))
        self.optimizers = (self.optimizer,)
        self.draw = torch.Generator(next(network.parameters()).device).manual_seed(secret.number("draws"))

    def step(self, number: int, done: float) -> Tensor:
        """One Poisson sample; returns its loss."""
        is_taken = self.secret.uniforms(f"rows/{number}", self.rows) < self.mechanism.sample_rate
        taken = torch.from_numpy(np.flatnonzero(is_taken))
        parameters = list(self.network.parameters())
        total = [torch.zeros_like(parameter) for parameter in parameters]
        loss = torch.zeros((), device=parameters[0].device)
        for rows in torch.split(taken, _CHUNK):
            sums, losses = clipped_sum(self.network, lambda rows=rows: self.row_losses(rows, self.draw), self.bound)
            torch._foreach_add_(total, sums)
            loss = loss + losses.sum()
        self._descend(parameters, self.noisy(total, number), done)
        follow(self.average, self.network, number, _EMA)
        return loss / max(len(taken), 1)

    def noisy(self, total: Sequence[Tensor], number: int) -> list[Tensor]:
        """The sums with noise of the standard deviation `noise` times `bound` in every entry, at step `number`."""
        sizes = [tensor.numel() for tensor in total]
        normals = torch.from_numpy(self.secret.normals(f"noise/{number}", sum(sizes))).float()
        deviation = self.mechanism.noise * self.bound
        return [
            tensor + deviation * part.view_as(tensor).to(tensor.device)
            for tensor, part in zip(total, normals.split(sizes), strict=True)
        ]

    def _descend(self, parameters: Sequence[nn.Parameter], gradients: Sequence[Tensor], done: float) -> None:
        """Adam does not mind the gradients' scale, so that they need no division by a number of rows."""
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter.grad = gradient / self.bound
        set_rate(self.optimizer, self.learning_rate * warm_cosine(done, _WARM_UP))
        self.optimizer.step()
