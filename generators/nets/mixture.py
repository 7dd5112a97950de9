"""A smooth distribution over the ascending tokens of a number: a few peaks on the line of its normal scores."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

PEAKS = 6
"""Of one column's mixture."""
_PRECISION = 0.7  # log of one over the scale that peaks start with
_WIDEST = 5.0  # how far the log scale may go from there


class Mixture(nn.Module):
    """Logistic distributions over one column's normal score, mixed, with weights, means and scales from its hidden vector.

    Discretised as in Salimans, Karpathy, Chen and Kingma, "PixelCNN++" (ICLR 2017): a sharp peak takes few parameters, wherever it lies.
    """

    means: Tensor  # (peaks,), where they start
    bounds: Tensor  # (coarse, fine + 1), the scores between bins; atoms are coarse bins without fine ones

    def __init__(self, bounds: Tensor, width: int) -> None:
        super().__init__()
        self.shape = nn.Linear(width, 3 * PEAKS)
        self.register_buffer("means", torch.linspace(-1.5, 1.5, PEAKS), persistent=False)
        self.register_buffer("bounds", bounds.float(), persistent=False)

    def forward(self, hidden: Tensor, shift: Tensor) -> Tensor:
        """The shape of the mixture, (rows, 3 peaks), from the hidden vectors and how far its peaks are moved, (rows, peaks)."""
        shape: Tensor = self.shape(hidden)
        return shape.float() + F.pad(shift, (PEAKS, PEAKS))

    def log_coarse(self, shape: Tensor) -> Tensor:
        """Log share of each coarse bin: (rows, coarse)."""
        return self._log_shares(shape, torch.cat([self.bounds[:, 0], self.bounds[-1:, -1]]))

    def log_fine(self, shape: Tensor, coarse: Tensor) -> Tensor:
        """Log share of each fine bin of the coarse bins (rows,): (rows, fine)."""
        return self._log_shares(shape, self.bounds[coarse][:, None])

    def _log_shares(self, shape: Tensor, edges: Tensor) -> Tensor:
        """log(F(b) - F(a)) for neighbouring edges a < b: F(b) - F(a) = F(b) F(-a) (1 - exp(a - b)), which is exact far out, too."""
        weights, means, scales = shape[:, :, None].chunk(3, 1)  # (rows, peaks, 1)
        precision = torch.exp(_PRECISION - scales.clamp(-_WIDEST, _WIDEST))
        z = (edges - means - self.means[:, None]) * precision  # (rows, peaks, edges)
        low, high = z[..., :-1], z[..., 1:]
        within = torch.log(-torch.expm1((low - high).clamp(max=-1e-6)))
        below = F.logsigmoid(z)
        logs = below[..., 1:] + (below[..., :-1] - low) + within
        return torch.logsumexp(torch.log_softmax(weights, 1) + logs, 1)
