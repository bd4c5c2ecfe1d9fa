"""Constraints that a weight keeps while it is learned, as parametrizations.

    Signed      W = sign * |V|      Dale's law: all weights from one input unit have its sign
    Masked      W = mask * V        connections that do not exist stay 0

V is what is learned. A weight that is driven through 0 turns back instead of changing its sign.
Source: Rossbroich, Gygax, Zenke 2022, arXiv:2206.10226 (sparse and Dalian connections).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrize import register_parametrization


class Signed(nn.Module):
    """V -> sign * |V|; sign +1 or -1, broadcast to the weight."""

    sign: Tensor

    def __init__(self, sign: Tensor) -> None:
        super().__init__()
        self.register_buffer("sign", sign)

    def forward(self, weight: Tensor) -> Tensor:
        return self.sign * weight.abs()


class Masked(nn.Module):
    """V -> mask * V; mask 0 or 1, of the weight's shape."""

    mask: Tensor

    def __init__(self, mask: Tensor) -> None:
        super().__init__()
        self.register_buffer("mask", mask)

    def forward(self, weight: Tensor) -> Tensor:
        return self.mask * weight


def keep_signs(layer: nn.Module, excitatory: Tensor) -> None:
    """Let every weight of a Linear or Conv2d keep the sign of its input unit or channel.

    Args:
        layer: its weight is [out, in, ...].
        excitatory: [in], bool.
    """
    weight = layer.weight
    assert isinstance(weight, Tensor)
    sign = torch.where(excitatory, 1.0, -1.0).to(weight).view(1, -1, *[1] * (weight.dim() - 2))
    register_parametrization(layer, "weight", Signed(sign))


def keep_mask(layer: nn.Module, mask: Tensor) -> None:
    """Let the weights of a Linear or Conv2d stay 0 where ``mask``, of their shape, is 0."""
    weight = layer.weight
    assert isinstance(weight, Tensor)
    register_parametrization(layer, "weight", Masked(mask.to(weight)))
