"""A locally connected layer: windows like those of a convolution, each place with weights of its own.

y[o, p] = sum over i, a, b of W[o, p, i, a, b] x[i, stride p + (a, b) - padding] + bias[o, p]     p = (row, column)
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from snnlab.weights.weight import WeightLayer


class Local2d(WeightLayer):
    """The equation is in the docstring of this file; weights and biases start as those of an ``nn.Conv2d``.

    Args:
        inputs, outputs: channels.
        size: height and width of the input.
        kernel, stride, padding: of the windows, both ways alike; zeros around.
        bias: whether each place has a bias.

    Shapes: x [B, inputs, H, W] -> y [B, outputs, H', W']; weight [outputs, H', W', inputs, kernel, kernel].

    Raises:
        ValueError: when no window fits into the input, or a number leaves its range.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        size: tuple[int, int],
        kernel: int,
        stride: int = 1,
        padding: int = 0,
        bias: bool = True,
    ) -> None:
        super().__init__()
        if min(inputs, outputs, kernel, stride) < 1 or padding < 0:
            raise ValueError(
                f"Local2d: inputs = {inputs}, outputs = {outputs}, kernel = {kernel}, stride = {stride} must be at "
                f"least 1 and padding = {padding} not negative"
            )
        places = [(side + 2 * padding - kernel) // stride + 1 for side in size]
        if min(places) < 1:
            raise ValueError(
                f"Local2d: kernel = {kernel} does not fit into {list(size)} with padding = {padding}; "
                f"{min(size) + 2 * padding} is the most"
            )
        self.kernel, self.stride, self.padding, self.channels = kernel, stride, padding, inputs
        self.weight = nn.Parameter(torch.empty(outputs, *places, inputs, kernel, kernel))
        self.bias = nn.Parameter(torch.empty(outputs, *places)) if bias else None
        reach = 1 / math.sqrt(self.fan_in)
        for parameter in self.parameters():
            nn.init.uniform_(parameter, -reach, reach)

    def product(self, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        windows = nn.functional.unfold(x, self.kernel, padding=self.padding, stride=self.stride)  # [B, i a b, p]
        outputs, rows, columns = weight.shape[:3]
        y = torch.einsum("bkp,opk->bop", windows, weight.reshape(outputs, rows * columns, -1))
        y = y.unflatten(-1, (rows, columns))
        return y if bias is None else y + bias

    @property
    def inputs(self) -> int:
        return self.channels

    @property
    def fan_in(self) -> int:
        return self.channels * self.kernel**2

    def per_input(self, values: Tensor) -> Tensor:
        return values.view(-1, 1, 1)

    def extra_repr(self) -> str:
        outputs, rows, columns = self.weight.shape[:3]
        return (
            f"{self.channels}, {outputs}, places={rows}x{columns}, kernel={self.kernel}, stride={self.stride}, "
            f"padding={self.padding}"
        )
