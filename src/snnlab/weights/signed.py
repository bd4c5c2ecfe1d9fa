"""Weights that keep their sign while they are learned, as a parametrization: W = sign * |V| (Dale's law).

V is what is learned. A weight that is driven through 0 turns back instead of changing its sign.
Source: Rossbroich, Gygax, Zenke 2022, arXiv:2206.10226 (Dalian connections).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrize import register_parametrization

from snnlab.weights.weight import Weight


class Signed(nn.Module):
    """V -> sign * |V|; sign +1 or -1, broadcast to the weight."""

    sign: Tensor

    def __init__(self, sign: Tensor) -> None:
        super().__init__()
        self.register_buffer("sign", sign)

    def forward(self, weight: Tensor) -> Tensor:
        return self.sign * weight.abs()

    def right_inverse(self, weight: Tensor) -> Tensor:
        """V of a weight that is set from outside: its sizes are kept, its signs are not."""
        return weight


def keep_signs(weight: Weight, excitatory: Tensor) -> None:
    """Let every value of ``weight`` keep the sign of its input unit or channel; ``excitatory`` [inputs], bool."""
    sign = weight.per_input(torch.where(excitatory, 1.0, -1.0).to(weight.used))
    register_parametrization(weight.layer, "weight", Signed(sign))
