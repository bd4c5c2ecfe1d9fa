"""The weight of a convolution of torch, in any number of dimensions, plain or transposed.

W is [outputs, inputs / groups, ...], of a transposed convolution [inputs, outputs / groups, ...].
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd

from snnlab.weights.weight import Weight


class ConvWeight(Weight):
    """View of a convolution: padding by number or by name, of any mode, strides, dilation and groups."""

    views = _ConvNd

    def __init__(self, layer: nn.Module) -> None:
        self.layer = layer
        self.geometry: Any = layer  # stride, padding, dilation, groups, channels and more

    def product(self, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        g = self.geometry
        if not self.transposed:
            return g._conv_forward(x, weight, bias)  # type: ignore[no-any-return]
        function = getattr(nn.functional, f"conv_transpose{len(g.kernel_size)}d")
        return function(x, weight, bias, g.stride, g.padding, g.output_padding, g.groups, g.dilation)  # type: ignore[no-any-return]

    @property
    def transposed(self) -> bool:
        return isinstance(self.layer, _ConvTransposeNd)

    @property
    def inputs(self) -> int:
        return int(self.geometry.in_channels)

    @property
    def outputs(self) -> int:
        return int(self.geometry.out_channels)

    @property
    def fan_in(self) -> int:
        used = self.used
        return used[:, 0].numel() // self.geometry.groups if self.transposed else used[0].numel()

    def per_input(self, values: Tensor) -> Tensor:
        shape = [1] * (self.used.dim() - 2)
        if self.transposed:
            return values.view(-1, 1, *shape)
        groups = self.geometry.groups
        of_groups = values.view(groups, -1, *shape)  # [1, inputs, ...] where there are none
        return of_groups if groups == 1 else of_groups.repeat_interleave(self.outputs // groups, 0)

    def back(self, signal: Tensor, x: Tensor, weight: Tensor | None = None) -> Tensor:
        weight = self.used if weight is None else weight
        if not self.plain:
            return super().back(signal, x, weight)
        return self.convolution_backward(signal, x.new_empty(1).expand(x.shape), weight, 0)

    def outer(self, signal: Tensor, x: Tensor) -> Tensor:
        if not self.plain:
            return super().outer(signal, x)
        return self.convolution_backward(signal, x, x.new_empty(1).expand(self.used.shape), 1)

    def sum_of(self, signal: Tensor) -> Tensor:
        return signal.sum((0, *range(2, signal.dim())))

    @property
    def plain(self) -> bool:
        """Whether torch's backward of a convolution is all there is: zeros around, so many of them."""
        return self.geometry.padding_mode == "zeros" and not isinstance(self.geometry.padding, str)

    def convolution_backward(self, signal: Tensor, x: Tensor, weight: Tensor, which: int) -> Tensor:
        """Gradient of the input (``which`` 0) or of the weight (1); the other one gives its shape only."""
        g = self.geometry
        form = (g.stride, g.padding, g.dilation, self.transposed, g.output_padding, g.groups)
        mask = (which == 0, which == 1, False)
        return torch.ops.aten.convolution_backward(signal, x, weight, None, *form, mask)[which]  # type: ignore[no-any-return]
