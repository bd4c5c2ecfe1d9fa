"""Average pooling that keeps nothing: the gradient of a mean does not depend on what was averaged.

Windows that do not overlap are summed by a kernel of our own, to the bit as PyTorch does and some ten times faster; all
others by PyTorch.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from snnlab import kernels
from snnlab.kernels import threads


def takes(layer: nn.Module) -> bool:
    """Whether ``layer`` is plain average pooling."""
    return type(layer) is nn.AvgPool2d and not torch.compiler.is_compiling()


def pool(layer: nn.AvgPool2d, x: Tensor) -> Tensor:
    """Return ``layer(x)`` for x [N, C, H, W]; PyTorch's own would keep x for its shape."""
    options = (layer.kernel_size, layer.stride, layer.padding, layer.ceil_mode, layer.count_include_pad)
    outputs: Tensor = _Pool.apply(x, *options, layer.divisor_override)
    return outputs


class _Pool(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, *options: Any) -> Tensor:
        ctx.shape = x.shape
        kernel, stride, padding, *others = options
        window, stride, padding = ([s] * 2 if isinstance(s, int) else list(s) for s in (kernel, stride, padding))
        ctx.options = (window, stride, padding, *others)
        sizes = [size // part for size, part in zip(x.shape[-2:], window, strict=True)]
        ours = tiles(window, stride, padding, *others) and all(sizes) and kernels.on_cpu(x)
        ctx.window = window if ours else None
        if ctx.window is None:
            return nn.functional.avg_pool2d(x, *options)
        outputs = x.new_empty(*x.shape[:-2], *sizes)
        run("pool", x.contiguous(), window, outputs)
        return outputs

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        kernels.first_derivative()
        if ctx.window is None:
            like = grads[0].new_empty(()).expand(ctx.shape)  # a shape without memory
            grad = torch.ops.aten.avg_pool2d_backward(grads[0].contiguous(), like, *ctx.options)
        else:
            grad = grads[0].new_empty(ctx.shape)
            run("spread", grads[0].contiguous(), ctx.window, grad)
        return (grad, *[None] * 6)


def tiles(window: list[int], stride: list[int], padding: list[int], ceil: bool, padded: bool, divisor: Any) -> bool:
    """Whether the windows lie side by side."""
    return window == stride and not any(padding) and not ceil and divisor is None


def run(kernel: str, source: Tensor, window: list[int], target: Tensor) -> None:
    """Call a kernel of cpu.py on maps [..., H, W]."""
    from snnlab.kernels import cpu

    maps = [t.view(-1, *t.shape[-2:]).numpy() for t in (source.detach(), target)]
    threads.share(getattr(cpu, kernel), len(maps[0]), maps[0], *window, maps[1], least=16)
