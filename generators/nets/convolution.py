"""Convolutional encoder and decoder whose depth follows from the size of the images; any size from 8x8 on, square or not."""

from __future__ import annotations

from itertools import pairwise

from torch import Tensor, nn
from torch.nn import functional as F

_SHORT_SIDE = 4  # an image is halved until its shorter side is no longer than this
_GROUPS = 8  # of GroupNorm; every width is a multiple
_WIDEST = 4  # times the first width


class Block(nn.Module):
    """Residual block before activation (He et al. 2016, "Identity mappings in deep residual networks"), with group norms."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norms = nn.ModuleList([nn.GroupNorm(_GROUPS, width) for _ in range(2)])
        self.convolutions = nn.ModuleList([nn.Conv2d(width, width, 3, padding=1) for _ in range(2)])
        nn.init.zeros_(self.convolutions[1].weight)  # starts as the identity

    def forward(self, x: Tensor) -> Tensor:
        """Shape in = shape out: (rows, width, height, width of image)."""
        change = x
        for norm, convolution in zip(self.norms, self.convolutions, strict=True):
            change = convolution(F.silu(norm(change)))
        return x + change


class Encoder(nn.Module):
    """Images (rows, channels, height, width) -> features (rows, `features`)."""

    def __init__(self, channels: int, height: int, width: int, *, first: int) -> None:
        super().__init__()
        sizes, widths = pyramid(height, width, first)
        layers: list[nn.Module] = [nn.Conv2d(channels, widths[0], 3, padding=1), Block(widths[0])]
        for finer, coarser in pairwise(widths):
            layers += [nn.Conv2d(finer, coarser, 3, stride=2, padding=1), Block(coarser)]
        self.layers = nn.Sequential(*layers, nn.GroupNorm(_GROUPS, widths[-1]), nn.SiLU(), nn.Flatten())
        self.features = widths[-1] * sizes[-1][0] * sizes[-1][1]

    def forward(self, images: Tensor) -> Tensor:
        """Features of images scaled to [-1, 1]."""
        return self.layers(images)


class Decoder(nn.Module):
    """Codes (rows, code) -> maps (rows, outputs, height, width); enlarges by nearest neighbour, which leaves no checkerboard."""

    def __init__(self, code: int, outputs: int, height: int, width: int, *, first: int) -> None:
        super().__init__()
        self.sizes, self.widths = (tuple(reversed(part)) for part in pyramid(height, width, first))
        self.entry = nn.Linear(code, self.widths[0] * self.sizes[0][0] * self.sizes[0][1])
        self.blocks = nn.ModuleList([Block(width) for width in self.widths])
        self.narrow = nn.ModuleList([nn.Conv2d(wide, slim, 3, padding=1) for wide, slim in pairwise(self.widths)])
        self.exit = nn.Sequential(
            nn.GroupNorm(_GROUPS, self.widths[-1]), nn.SiLU(), nn.Conv2d(self.widths[-1], outputs, 3, padding=1)
        )

    def forward(self, code: Tensor) -> Tensor:
        """Maps at full size, without an activation."""
        x = self.blocks[0](self.entry(code).unflatten(1, (self.widths[0], *self.sizes[0])))
        for size, narrow, block in zip(self.sizes[1:], self.narrow, self.blocks[1:], strict=True):
            x = block(narrow(F.interpolate(x, size=size, mode="nearest")))
        return self.exit(x)


def pyramid(height: int, width: int, first: int) -> tuple[list[tuple[int, int]], list[int]]:
    """Sizes from the image down, and the channels at each: 32x32 -> [32, 16, 8, 4] squared with [1, 2, 4, 4] times `first`."""
    sizes = [(height, width)]
    while min(sizes[-1]) > _SHORT_SIDE:
        sizes.append((-(-sizes[-1][0] // 2), -(-sizes[-1][1] // 2)))  # what a convolution of stride 2 leaves
    return sizes, [first * min(2**level, _WIDEST) for level in range(len(sizes))]
