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

from generators.nets.autoregressive import invert
from generators.nets.denoiser import Denoiser, Rows, Unmasker
from generators.nets.possible import EVERYTHING, Possible
from synthmill.codecs.table import Part

_SIGMAS = (8.0, 0.01)  # of the first and the last step of sampling; scores have a standard deviation of about 1
_LOG_SIGMA = (-1.0, 1.6)  # mean and standard deviation of log sigma in training
_LEAN = 0.9  # of DPM-Solver++'s extrapolation, which at so few steps overshoots: normals come out too wide by 2 to 5 %
_MOST_ROUNDS = 0.6  # share of the evaluations that unmask codes, where there are numbers, too: these need eight steps


@dataclass(frozen=True, slots=True)
class Noise:
    """All that is random in one micro-batch."""

    codes: Tensor  # (rows, parts), uniform
    starts: Tensor  # (rows, numbers), normal
    scores: Tensor  # (rows, numbers), normal


@dataclass(frozen=True, slots=True)
class Course:
    """What each evaluation does: unmask the codes at these places of the order, then one step of denoising after another."""

    rounds: tuple[tuple[int, ...], ...]
    steps: int


class MixedDiffusion(nn.Module):
    """Codes are unmasked in `order`, labels before ordered parts and few codes before many; then scores are denoised together."""

    told: Tensor  # parts in `order`: those that have more than one code
    places: Tensor  # (parts,), in `order`; -1 for the others
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
        self._keep("told", torch.tensor(self.order, dtype=torch.int64))
        self._keep("places", torch.tensor([self.order.index(j) if j in self.order else -1 for j in range(len(parts))]))
        self._keep("free", torch.tensor([-1 if part.free is None else part.free for part in parts]))
        self._keep("scores_of_codes", torch.tensor([score for part in parts for score in part.scores]))
        self._keep("starts", torch.cumsum(sizes, 0) - sizes)
        self._keep("ordered", torch.tensor(ordered, dtype=torch.int64))
        self._keep("numbers", torch.tensor(numbers, dtype=torch.int64))
        free_scores = [ordered.index(j) for j in numbers]
        self._keep("free_scores", torch.tensor(free_scores, dtype=torch.int64))
        half = max(8, width // 2)  # a network a part
        self.unmasker = Unmasker(parts, ordered, self.order, width=half, dropout=dropout) if self.order else None
        self.denoiser = Denoiser(parts, len(ordered), free_scores, width=width, depth=depth) if numbers else None

    def _keep(self, name: str, tensor: Tensor) -> None:
        self.register_buffer(name, tensor, persistent=False)

    def rows(self, codes: Tensor, values: Tensor, given: Tensor) -> Rows:
        """Cells of a codec, (rows, parts) each, on this network's device; scores are known where `given`, or by their code."""
        codes, given = codes.to(self.free.device), given.to(self.free.device)
        is_free = codes == self.free
        scores = torch.where(is_free, values.to(codes.device).float(), self.scores_of_codes[codes + self.starts])
        return Rows(codes, scores[:, self.ordered], (given | ~is_free)[:, self.ordered])

    def loss(self, rows: Rows, draw: torch.Generator, *, is_training: bool) -> Tensor:
        """Nats a code and the squared error of a score in units of its variance, summed, a number for all rows; training drops units."""
        total = torch.zeros((), device=rows.codes.device)
        if self.unmasker is not None:
            total = total + self._unmasking_loss(self.unmasker, rows, draw, draw if is_training else None)
        if self.denoiser is not None:
            total = total + self._denoising_loss(self.denoiser, rows, draw)
        return total

    def _unmasking_loss(
        self, unmasker: Unmasker, rows: Rows, draw: torch.Generator, dropping: torch.Generator | None
    ) -> Tensor:
        """Each code is told from the cells of the rounds before its own, and from those given."""
        given = self.random_given(len(rows), draw)
        ranks = torch.where(given, -1, self._random_rounds(len(rows), draw))
        sees = ranks[:, self.told, None] > ranks[:, None, :]
        known = Rows(rows.codes, rows.scores, rows.clean | given[:, self.ordered])
        logits = unmasker(known, sees, dropping)
        told = zip(self.order, logits, strict=True)
        nats = [F.cross_entropy(own, rows.codes[:, j], reduction="none") for j, own in told]
        hidden = ~given[:, self.told]
        return (torch.stack(nats, 1) * hidden).sum() / hidden.sum().clamp(min=1)

    def _random_rounds(self, rows: int, draw: torch.Generator) -> Tensor:
        """The round of each part, (rows, parts), -1 for those with one code: in half of the rows a round each, else in fewer rounds."""
        device, most = self.places.device, len(self.order)
        fewer = torch.randint(1, most + 1, (rows, 1), generator=draw, device=device)
        count = torch.where(torch.rand((rows, 1), generator=draw, device=device) < 0.5, most, fewer)
        return torch.div(self.places * count, most, rounding_mode="floor")

    def _denoising_loss(self, denoiser: Denoiser, rows: Rows, draw: torch.Generator) -> Tensor:
        """All codes are seen; free scores that are not given have noise of one sigma a row."""
        device = rows.codes.device
        clean = rows.clean | self.random_given(len(rows), draw)[:, self.ordered]
        mean, std = _LOG_SIGMA
        sigma = torch.exp(mean + std * torch.randn((len(rows), 1), generator=draw, device=device))
        noise = sigma * torch.randn(clean.shape, generator=draw, device=device)
        noisy = Rows(rows.codes, torch.where(clean, rows.scores, rows.scores + noise), clean)
        error = denoiser(noisy, sigma) - rows.scores[:, self.free_scores]
        weighted = error.square() * (1 + sigma.square()) / sigma.square() * ~clean[:, self.free_scores]
        return weighted.sum() / (~clean).sum().clamp(min=1)

    def random_given(self, rows: int, draw: torch.Generator) -> Tensor:
        """A random set of parts, few more often than many, in half of the rows; none in the others."""
        device, parts = self.places.device, len(self.places)
        # Recipes give a column or two and rarely most.
        few = torch.rand((rows, 1), generator=draw, device=device).square()
        count = (1 + few * (parts - 1)).long() * torch.randint(2, (rows, 1), generator=draw, device=device)
        return torch.rand((rows, parts), generator=draw, device=device).argsort(1) < count

    # sampling ---------------------------------------------------------------------------------------------------------

    def course(self, evaluations: int) -> Course:
        """Shares `evaluations` of the networks out between codes and scores."""
        most = evaluations if self.denoiser is None else max(1, int(_MOST_ROUNDS * evaluations))
        count = min(most, len(self.order))
        ends = [-(-len(self.order) * i // count) for i in range(count + 1)] if count else [0]
        rounds = tuple(tuple(range(a, b)) for a, b in itertools.pairwise(ends))
        return Course(rounds, 0 if self.denoiser is None else max(1, evaluations - count))

    def sample(
        self,
        given: tuple[Tensor, Tensor],
        seen: Tensor,
        noise: Noise,
        course: Course,
        temperature: float,
        possible: Possible = EVERYTHING,
    ) -> tuple[Tensor, Tensor]:
        """Codes and values (rows, parts) of what is not `seen`; `given` are codes and values that count where it is."""
        codes, values = torch.where(seen, given[0], 0), given[1].float()
        if self.unmasker is not None:
            codes = self._unmask(
                self.unmasker, (codes, values), seen, noise.codes, course.rounds, temperature, possible
            )
        made = torch.zeros_like(values)
        if self.denoiser is not None:
            rows = self.rows(codes, values, seen)
            made[:, self.numbers] = _denoise(self.denoiser, rows, noise, temperature, course.steps)
        return codes, made

    def _unmask(
        self,
        unmasker: Unmasker,
        given: tuple[Tensor, Tensor],
        seen: Tensor,
        uniforms: Tensor,
        rounds: Sequence[Sequence[int]],
        temperature: float,
        possible: Possible,
    ) -> Tensor:
        codes, values = given[0].clone(), given[1]
        known = seen | (self.places < 0)
        for places in rounds:
            logits = unmasker.of(places, self.rows(codes, values, seen), known)
            for i, own in zip(places, logits, strict=True):
                j = self.order[i]
                left = possible.restrict(own, j, codes, known, torch.arange(own.shape[1], device=own.device))
                codes[:, j] = torch.where(seen[:, j], codes[:, j], invert(left / temperature, uniforms[:, j]))
                known[:, j] = True
        return codes


def _denoise(denoiser: Denoiser, rows: Rows, noise: Noise, temperature: float, steps: int) -> Tensor:
    """Scores (rows, numbers) by DPM-Solver++(2M) of Lu et al. (2022), in the terms of Karras et al.

    The first evaluation tells where the scores lie, for noise drawn around that; noise around zero, unless far larger and so
    with steps to spare, leaves them too near zero.
    """
    free = denoiser.free
    known = rows.clean[:, free]
    sigmas = noise_levels(max(1, steps - 1)).to(noise.scores.device)

    def expected(x: Tensor, sigma: Tensor) -> Tensor:
        scores = rows.scores.index_copy(1, free, torch.where(known, rows.scores[:, free], x))
        return denoiser(Rows(rows.codes, scores, rows.clean), sigma.expand(len(x), 1))

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
