"""A conditional normalizing flow of affine couplings: a density that can be read, and drawn from in one pass.

Dinh, Sohl-Dickstein and Bengio, "Density estimation using Real NVP" (ICLR 2017); fixed permutations between couplings as in Glow, and
a Gaussian base whose mean follows the context. As the prior of a VAE: Chen et al., "Variational lossy autoencoder" (ICLR 2017).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

_STEEPEST = 2.0  # bound of a coupling's log scale, so that no single step can overflow


class Coupling(nn.Module):
    """Shifts and scales one half of the latent by what the other half and the context say, after a fixed permutation."""

    order: Tensor
    inverse_order: Tensor

    def __init__(self, size: int, context: int, hidden: int) -> None:
        super().__init__()
        self.kept = size // 2
        order = torch.randperm(size)
        self.register_buffer("order", order)
        self.register_buffer("inverse_order", torch.argsort(order))
        last = nn.Linear(hidden, 2 * (size - self.kept))
        nn.init.zeros_(last.weight)  # starts as the permutation alone
        nn.init.zeros_(last.bias)
        self.net = nn.Sequential(
            nn.Linear(self.kept + context, hidden), nn.SiLU(), nn.Linear(hidden, hidden), nn.SiLU(), last
        )

    def forward(self, z: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        """Towards the base: the mapped latent (rows, size) and log |det| (rows,)."""
        kept, moved = z[:, self.order].tensor_split([self.kept], dim=1)
        shift, log_scale = self._affine(kept, context)
        return torch.cat([kept, (moved - shift) * torch.exp(-log_scale)], 1), -log_scale.sum(1)

    def inverse(self, e: Tensor, context: Tensor) -> Tensor:
        """From the base: undoes `forward`."""
        kept, moved = e.tensor_split([self.kept], dim=1)
        shift, log_scale = self._affine(kept, context)
        return torch.cat([kept, moved * torch.exp(log_scale) + shift], 1)[:, self.inverse_order]

    def _affine(self, kept: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        shift, log_scale = self.net(torch.cat([kept, context], 1)).chunk(2, 1)
        return shift, _STEEPEST * torch.tanh(log_scale / _STEEPEST)


class CouplingFlow(nn.Module):
    """p(z | context) over latents of `size` numbers."""

    def __init__(self, size: int, context: int, *, couplings: int, hidden: int) -> None:
        super().__init__()
        self.size = size
        self.couplings = nn.ModuleList([Coupling(size, context, hidden) for _ in range(couplings)])
        self.mean = nn.Linear(context, size)

    def log_density(self, z: Tensor, context: Tensor) -> Tensor:
        """log p(z | context) in nats, shape (rows,)."""
        log_det = z.new_zeros(len(z))
        for coupling in self.couplings:
            z, change = coupling(z, context)
            log_det = log_det + change
        return log_det - 0.5 * ((z - self.mean(context)) ** 2 + math.log(2 * math.pi)).sum(1)

    def draw(self, noise: Tensor, context: Tensor) -> Tensor:
        """Standard normal noise (rows, size) -> latents."""
        z = noise + self.mean(context)
        for coupling in reversed(self.couplings):
            z = coupling.inverse(z, context)
        return z
