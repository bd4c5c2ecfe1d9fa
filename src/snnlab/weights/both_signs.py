"""Weights of which every connection may have an excitatory and an inhibitory part, each with a sign of its own.

    y_j = sum_i W+_ji x_i - sum_i W-_ji x_i,   W+, W- >= 0

One tensor holds both, the inputs twice: first W+, then -W-. A value of 0 is a synapse that does not exist.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from snnlab.weights.local import Local2d
from snnlab.weights.weight import WeightLayer, normal


class BothSigns(WeightLayer):
    """What both forms share; ``along`` is the dimension of the weight that holds the inputs twice."""

    along: int

    def excitatory(self, values: Tensor) -> Tensor:
        """W+ of a tensor of the weight's shape, a view."""
        return values.chunk(2, self.along)[0]

    def inhibitory(self, values: Tensor) -> Tensor:
        """-W- of a tensor of the weight's shape, a view."""
        return values.chunk(2, self.along)[1]

    @property
    def exists(self) -> Tensor:
        return normal(self.used != 0)

    def per_input(self, values: Tensor) -> Tensor:
        shape = [1] * self.used.dim()
        shape[self.along] = -1
        return torch.cat([values, values]).view(shape)


class BothSignsLinear(BothSigns):
    """Fully connected; x [B, inputs] -> y [B, outputs]; weight [outputs, 2 inputs], drawn as an ``nn.Linear``'s."""

    along = 1

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(outputs, 2 * inputs))
        self.bias = None
        nn.init.uniform_(self.weight, -(inputs**-0.5), inputs**-0.5)

    def product(self, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        return nn.functional.linear(torch.cat([x, x], -1), weight, bias)

    @property
    def inputs(self) -> int:
        return self.used.shape[1] // 2

    def windows(self) -> Tensor:
        """Which inputs each place sees: [1, inputs], in the order of the weight."""
        return torch.arange(self.inputs).unsqueeze(0)


class BothSignsLocal2d(Local2d, BothSigns):
    """Locally connected; shapes as in ``Local2d``, with twice its input channels in the weight."""

    along = 3

    def __init__(self, inputs: int, outputs: int, size: tuple[int, int], kernel: int, stride: int = 1) -> None:
        super().__init__(2 * inputs, outputs, size, kernel, stride, bias=False)
        self.channels, self.size = inputs, size

    def product(self, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        return super().product(torch.cat([x, x], 1), weight, bias)

    @property
    def fan_in(self) -> int:
        return 2 * super().fan_in

    def per_input(self, values: Tensor) -> Tensor:
        return BothSigns.per_input(self, values)

    def windows(self) -> Tensor:
        """Which inputs each place sees: [places, channels kernel^2], in the order of the weight."""
        height, width = self.size
        every: Any = torch.arange(self.channels * height * width, dtype=torch.float64)
        seen = nn.functional.unfold(every.view(1, self.channels, height, width), self.kernel, stride=self.stride)
        return seen[0].T.long()
