"""Diffusion of rows that mix codes and normal scores: what it learns from, and how rows are made; see generators/table/diffusion.py.

Shapes as in denoiser.py; seen, given and the like are (rows, parts).
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from generators.nets.denoiser import Denoiser, Rows, State, Unmasker
from synthmill.codecs.table import Part

_SIGMAS = (12.0, 0.005)  # of the first and the last step of sampling; scores have a standard deviation of about 1
_LOG_SIGMA = (-1.0, 1.6)  # mean and standard deviation of log sigma in training
_LEAN = 0.9  # of DPM-Solver++'s extrapolation, which at so few steps overshoots: normals come out too wide by 2 to 5 %
_MOST_ROUNDS = 0.75  # share of the evaluations that unmask codes, where there are numbers to denoise, too


@dataclass(frozen=True, slots=True)
class Noise:
    """All that is random in one micro-batch."""

    codes: Tensor  # (rows, parts), uniform
    starts: Tensor  # (rows, numbers), normal
    scores: Tensor  # (rows, numbers), normal


@dataclass(frozen=True, slots=True)
class Course:
    """What each evaluation does: unmask the parts of a round, then one step of denoising after another."""

    rounds: tuple[tuple[int, ...], ...]
    steps: int


class MixedDiffusion(nn.Module):
    """Codes are unmasked in `order`, labels before ordered parts and few codes before many; then scores are denoised together."""

    sizes: Tensor  # (parts,)
    places: Tensor  # (parts,), in `order`; -1 for a part that has one code alone
    free: Tensor  # (parts,), the code whose score is free; -1 where there is none
    scores_of_codes: Tensor  # (all codes,)
    starts: Tensor  # (parts,), where a part's codes begin there
    ordered: Tensor  # parts that are ordered
    numbers: Tensor  # parts that have a free code
    free_scores: Tensor  # their places among the ordered

    def __init__(self, parts: Sequence[Part], *, width: int, depth: int, dropout: float) -> None:
        super().__init__()
        ordered = [j for j, part in enumerate(parts) if part.free is not None or any(part.scores)]
        numbers = [j for j, part in enumerate(parts) if part.free is not None]
        varied = [j for j, part in enumerate(parts) if part.size > 1] or ([] if numbers else [0])
        self.order = sorted(varied, key=lambda j: (j in ordered, parts[j].size))
        sizes = torch.tensor([part.size for part in parts])
        self._keep("sizes", sizes)
        self._keep("places", torch.tensor([self.order.index(j) if j in self.order else -1 for j in range(len(parts))]))
        self._keep("free", torch.tensor([-1 if part.free is None else part.free for part in parts]))
        self._keep("scores_of_codes", torch.tensor([score for part in parts for score in part.scores]))
        self._keep("starts", torch.cumsum(sizes, 0) - sizes)
        self._keep("ordered", torch.tensor(ordered, dtype=torch.int64))
        self._keep("numbers", torch.tensor(numbers, dtype=torch.int64))
        self._keep("free_scores", torch.tensor([ordered.index(j) for j in numbers], dtype=torch.int64))
        shape = {"width": width, "depth": depth, "dropout": dropout}
        self.unmasker = Unmasker(parts, len(ordered), self.order, **shape)
        self.denoiser = Denoiser(parts, len(ordered), [ordered.index(j) for j in numbers], **shape) if numbers else None

    def _keep(self, name: str, tensor: Tensor) -> None:
        self.register_buffer(name, tensor, persistent=False)

    def rows(self, codes: Tensor, values: Tensor) -> Rows:
        """Rows of a codec, (rows, parts) each, on this network's device."""
        device = self.sizes.device
        codes = codes.to(device)
        of_codes = self.scores_of_codes[codes + self.starts]
        scores = torch.where(codes == self.free, values.to(device, torch.float32), of_codes)
        return Rows(codes, scores[:, self.ordered])

    def loss(self, rows: Rows, draw: torch.Generator, *, is_training: bool) -> Tensor:
        """Nats a code that is unmasked next, and the squared error of scores in units of its variance, summed; a number for all rows."""
        dropping = draw if is_training else None
        of_codes = self._unmasking_loss(rows, draw, dropping)
        if self.denoiser is None:
            return of_codes
        return of_codes + self._denoising_loss(self.denoiser, rows, draw, dropping)

    def _unmasking_loss(self, rows: Rows, draw: torch.Generator, dropping: torch.Generator | None) -> Tensor:
        """Codes before a random place of the order are seen, and those given; the others are to be told."""
        if not self.order:
            return torch.zeros((), device=rows.codes.device)
        given = self.random_given(len(rows), draw)
        cut = torch.randint(len(self.order), (len(rows), 1), generator=draw, device=given.device)
        seen = given | (self.places < cut)
        logits = self.unmasker(self._masked(rows, seen, given), self.order, dropping)
        pairs = zip(self.order, logits, strict=True)
        nats = [F.cross_entropy(own, rows.codes[:, j], reduction="none") for j, own in pairs]
        hidden = ~seen[:, self.order]
        return (torch.stack(nats, 1) * hidden).sum() / hidden.sum().clamp(min=1)

    def _masked(self, rows: Rows, seen: Tensor, given: Tensor) -> State:
        """Codes where `seen`; scores where they follow from them, or are given."""
        known = given | (seen & (rows.codes != self.free))
        clean = known[:, self.ordered]
        return State(torch.where(seen, rows.codes, self.sizes), rows.scores * clean, clean)

    def _denoising_loss(
        self, denoiser: Denoiser, rows: Rows, draw: torch.Generator, dropping: torch.Generator | None
    ) -> Tensor:
        """All codes are seen; free scores that are not given have noise of one sigma a row."""
        device = rows.codes.device
        noisy = ((rows.codes == self.free) & ~self.random_given(len(rows), draw))[:, self.ordered]
        mean, std = _LOG_SIGMA
        sigma = torch.exp(mean + std * torch.randn((len(rows), 1), generator=draw, device=device))
        noise = torch.randn(noisy.shape, generator=draw, device=device)
        state = State(rows.codes, rows.scores + sigma * noise * noisy, ~noisy)
        error = denoiser(state, sigma, dropping) - rows.scores[:, self.free_scores]
        weighted = error.square() * (1 + sigma.square()) / sigma.square() * noisy[:, self.free_scores]
        return weighted.sum() / noisy.sum().clamp(min=1)

    def random_given(self, rows: int, draw: torch.Generator) -> Tensor:
        """A random set of parts, few more often than many, in half of the rows; none in the others."""
        device, parts = self.sizes.device, len(self.sizes)
        few = torch.rand(
            (rows, 1), generator=draw, device=device
        ).square()  # recipes give a column or two and rarely most
        count = (1 + few * (parts - 1)).long() * torch.randint(2, (rows, 1), generator=draw, device=device)
        return torch.rand((rows, parts), generator=draw, device=device).argsort(1) < count

    # sampling ---------------------------------------------------------------------------------------------------------

    def course(self, evaluations: int) -> Course:
        """Shares `evaluations` of the networks out between codes and scores."""
        most = evaluations if self.denoiser is None else max(1, int(_MOST_ROUNDS * evaluations))
        count = min(most, len(self.order))
        ends = [round(len(self.order) * i / count) for i in range(count + 1)] if count else [0]
        rounds = tuple(tuple(self.order[a:b]) for a, b in itertools.pairwise(ends))
        return Course(rounds, 0 if self.denoiser is None else max(1, evaluations - count))

    def sample(
        self, given: Rows, seen: Tensor, noise: Noise, course: Course, temperature: float
    ) -> tuple[Tensor, Tensor]:
        """Codes and values (rows, parts) of what is not `seen`, where both are as in `given`."""
        codes = self._unmask(given, seen, noise.codes, course.rounds, temperature)
        rows = self.rows(codes, torch.zeros(codes.shape, device=codes.device))
        scores = torch.where(seen[:, self.ordered], given.scores, rows.scores)
        values = torch.zeros(codes.shape, device=codes.device)
        if self.denoiser is not None:
            noisy = ((codes == self.free) & ~seen)[:, self.ordered]
            values[:, self.numbers] = _denoise(
                self.denoiser, Rows(codes, scores), noisy, noise, temperature, course.steps
            )
        return codes, values

    def _unmask(
        self, given: Rows, seen: Tensor, uniforms: Tensor, rounds: Sequence[Sequence[int]], temperature: float
    ) -> Tensor:
        known, codes = seen | (self.places < 0), torch.where(seen, given.codes, 0)
        for parts in rounds:
            rows = self.rows(codes, torch.zeros(codes.shape, device=codes.device))
            scores = torch.where(seen[:, self.ordered], given.scores, rows.scores)
            logits = self.unmasker(self._masked(Rows(codes, scores), known, seen), parts)
            for j, own in zip(parts, logits, strict=True):
                codes[:, j] = torch.where(seen[:, j], codes[:, j], invert(own / temperature, uniforms[:, j]))
                known[:, j] = True
        return codes


def _denoise(denoiser: Denoiser, rows: Rows, noisy: Tensor, noise: Noise, temperature: float, steps: int) -> Tensor:
    """Scores (rows, numbers) by DPM-Solver++(2M) of Lu et al. (2022), in the terms of Karras et al.

    The first evaluation tells where the scores lie, for noise drawn around that; noise around zero, unless far larger and so
    with steps to spare, leaves them too near zero.
    """
    free = denoiser.free
    sigmas = noise_levels(max(1, steps - 1)).to(noise.scores.device)

    def expected(x: Tensor, sigma: Tensor) -> Tensor:
        scores = rows.scores.index_copy(1, free, torch.where(noisy[:, free], x, rows.scores[:, free]))
        return denoiser(State(rows.codes, scores, ~noisy), sigma.expand(len(x), 1))

    ahead = expected(sigmas[0] * noise.starts, sigmas[0])
    if steps == 1:
        return ahead
    x = (
        ahead + temperature * torch.sqrt(sigmas[0].square() + 0.5) * noise.scores
    )  # half of a score's variance is its own
    before = now = expected(x, sigmas[0])
    for sigma, next_sigma in itertools.pairwise(sigmas):
        x = torch.lerp(now + _LEAN / 2 * (now - before), x, next_sigma / sigma)
        before, now = now, expected(x, next_sigma)
    return now


def noise_levels(steps: int) -> Tensor:
    """Sigma at each step, (steps,), falling by one factor."""
    first, last = _SIGMAS
    return first * (last / first) ** (torch.arange(steps) / max(1, steps - 1))


def invert(logits: Tensor, uniforms: Tensor) -> Tensor:
    """One draw a row from a categorical by inverting its distribution function: (rows, size), (rows,) -> (rows,)."""
    cumulative = torch.softmax(logits, 1).cumsum(1)
    targets = uniforms.float()[:, None] * cumulative[:, -1:]  # the sum of float32 shares is not quite one
    return (targets > cumulative[:, :-1]).sum(1)
