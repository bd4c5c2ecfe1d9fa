"""Average pooling whose backward keeps nothing: the gradient of a mean does not depend on what was averaged."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn


def takes(layer: nn.Module) -> bool:
    """Whether ``layer`` is plain average pooling."""
    return type(layer) is nn.AvgPool2d


def pool(layer: nn.AvgPool2d, x: Tensor) -> Tensor:
    """Return ``layer(x)`` for x [N, C, H, W]; PyTorch's own would keep x for its shape."""
    options = (layer.kernel_size, layer.stride, layer.padding, layer.ceil_mode, layer.count_include_pad)
    outputs: Tensor = _Pool.apply(x, *options, layer.divisor_override)
    return outputs


class _Pool(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, *options: Any) -> Tensor:
        ctx.shape = x.shape
        kernel, *others = options
        ctx.options = ([kernel] * 2 if isinstance(kernel, int) else list(kernel), *others)
        return nn.functional.avg_pool2d(x, *options)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        kernel, stride, padding, *others = ctx.options
        sizes = ([s] * 2 if isinstance(s, int) else list(s) for s in (stride, padding))
        like = grads[0].new_empty(()).expand(ctx.shape)  # a shape without memory
        grad = torch.ops.aten.avg_pool2d_backward(grads[0].contiguous(), like, kernel, *sizes, *others)
        return (grad, *[None] * 6)
