"""Weights on the levels of a number format, while what is learned stays fine.

    W = step * clip(round(V / step), -n, n),  n = 2^(bits - 1) - 1      (1) symmetric: one code of the 2^bits is unused
    dL/dV = dL/dW                                                       (2) straight through, outside of the range too

V is what is learned: changes smaller than a step add up until W moves. Rounds half to even.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrize import register_parametrization

from snnlab.errors import InputError
from snnlab.weights.find import weight_of
from snnlab.weights.straight import straight


class Rounded(nn.Module):
    """V -> W of (1).

    Args:
        step: distance of two levels, > 0, in the unit of the weight; a number, or a tensor that broadcasts with it.
        bits: of the format, 2 to 16.

    Raises:
        InputError: when an argument leaves its range.
    """

    step: Tensor

    def __init__(self, step: float | Tensor, bits: int = 8) -> None:
        super().__init__()
        step = torch.as_tensor(step)
        if not 2 <= bits <= 16:
            raise InputError(f"Rounded: bits = {bits} must lie in 2 to 16; 8 is usual")
        if not bool((step > 0).all()):
            raise InputError(f"Rounded: step = {float(step.min())} must be positive; the largest weight / 127 is usual")
        self.bits, self.most = bits, 2 ** (bits - 1) - 1
        self.register_buffer("step", step)

    def forward(self, values: Tensor) -> Tensor:
        levels = torch.round(values.detach() / self.step).clamp_(-self.most, self.most)  # (1)
        return straight(values, levels * self.step)  # (2)

    def extra_repr(self) -> str:
        return f"bits={self.bits}"


def keep_rounded(layer: nn.Module, bits: int = 8, step: float | None = None) -> None:
    """Let the weight of a layer lie on levels from now on.

    Args:
        layer: a weight, such as a Linear.
        bits: of the format.
        step: distance of two levels; None makes the largest weight of now the last level.

    Raises:
        InputError: when an argument leaves its range, or the layer has no weight.
    """
    weight = weight_of(layer)
    if weight is None:
        raise InputError(f"keep_rounded: a {type(layer).__name__} has no weight to round; give a Linear or a Conv2d")
    largest = float(weight.used.detach().abs().max())
    most = 2 ** (max(bits, 2) - 1) - 1
    taken = torch.as_tensor((largest or 1.0) / most if step is None else step).to(weight.used)
    register_parametrization(layer, "weight", Rounded(taken, bits))
