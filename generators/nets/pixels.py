"""A likelihood for pixels: the discretised logistic of Salimans et al., "PixelCNN++" (ICLR 2017), over the levels in use.

Their bins are the 256 values of a byte. Here they are the values that train has, so that an image of 17 greys, or of two, gets a proper
probability of each, and no sample shows a grey that the source does not know.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

_FAR = 1e3  # stands for infinity as an outer bin's edge: infinity times a gradient of zero would be NaN
_SHARPEST, _START = -7.0, 2.0  # log scales: the least, and what is added so that training starts wide


class PixelLevels(nn.Module):
    """The distinct values of train's pixels (bytes, ascending) and the bins between them, on a scale of -1 to 1."""

    values: Tensor
    edges: Tensor

    def __init__(self, values: Tensor) -> None:
        super().__init__()
        scaled = scale(values)
        ends = torch.tensor([_FAR])
        self.register_buffer("values", values)
        self.register_buffer("edges", torch.cat([-ends, (scaled[1:] + scaled[:-1]) / 2, ends]))

    def log_probability(self, pixels: Tensor, maps: Tensor) -> Tensor:
        """log P(pixels | maps) in nats, summed over an image: bytes (rows, channels, height, width) -> (rows,).

        With u and l the edges of a pixel's bin in units of the scale, sigmoid(u) - sigmoid(l) = sigmoid(u) sigmoid(-l) (1 - exp(l - u)),
        which keeps its precision far from the mean.
        """
        mean, log_scale = mean_and_log_scale(maps)
        bins = torch.searchsorted(self.values, pixels)
        upper, lower = ((self.edges[bins + side] - mean) * torch.exp(-log_scale) for side in (1, 0))
        return (F.logsigmoid(upper) + F.logsigmoid(-lower) + torch.log(-torch.expm1(lower - upper))).flatten(1).sum(1)

    def draw(self, uniforms: Tensor, maps: Tensor, temperature: float) -> Tensor:
        """One pixel for each uniform, by inverting the distribution; bytes in the shape of `uniforms`."""
        mean, log_scale = mean_and_log_scale(maps)
        drawn = mean + temperature * torch.exp(log_scale) * torch.logit(uniforms).to(mean.dtype)
        return self.values[torch.bucketize(drawn.contiguous(), self.edges[1:-1])]


def mean_and_log_scale(maps: Tensor) -> tuple[Tensor, Tensor]:
    """A decoder's maps (rows, 2 channels, height, width) as the two parameters of a logistic."""
    mean, raw = maps.chunk(2, 1)
    return mean, _SHARPEST + F.softplus(raw + _START - _SHARPEST)


def scale(pixels: Tensor) -> Tensor:
    """Bytes to [-1, 1]."""
    return pixels.float() / 127.5 - 1
