"""Weights of which some do not exist, as a parametrization: W = mask * V; where the mask is 0 they stay 0.

Source: Rossbroich, Gygax, Zenke 2022, arXiv:2206.10226 (sparse connections).
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn.utils.parametrize import register_parametrization

from snnlab.weights.weight import Weight


class Masked(nn.Module):
    """V -> mask * V; mask 0 or 1, of the weight's shape."""

    mask: Tensor

    def __init__(self, mask: Tensor) -> None:
        super().__init__()
        self.register_buffer("mask", mask)

    @property
    def exists(self) -> Tensor:
        return self.mask

    def forward(self, weight: Tensor) -> Tensor:
        return self.mask * weight


def keep_mask(weight: Weight, mask: Tensor) -> None:
    """Let the values of ``weight`` stay 0 where ``mask``, of their shape, is 0."""
    register_parametrization(weight.layer, "weight", Masked(mask.to(weight.used)))
