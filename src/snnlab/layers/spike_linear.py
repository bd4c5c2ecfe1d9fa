"""A linear layer on a whole sequence of spikes: few spikes are gathered, and bits are what the backward keeps.

    outputs = x W' + b      (1) x [N, in], N = T * B; W [out, in]
    grad x = g W            (2) g [N, out] the gradient of the outputs
    grad W = g' x           (3) x unpacked a part at a time
    grad b = sum of g       (4)

Where x or g is mostly 0 (spikes; a surrogate derivative with an end) a product adds up the rows of the non-zero numbers
instead of multiplying all: the same sums in another order.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from snnlab import kernels
from snnlab.kernels import threads
from snnlab.kernels.bits import LEAST, Packed, pack, unpack_rows

if TYPE_CHECKING:
    from snnlab.kernels.active import Entries

SPARSE = 0.08  # share of non-zero numbers below which gathering wins; measured, see docs/speed.md
PROBED = 1 << 14  # numbers that the share is estimated from
UNPACKED, ROWS = 1 << 21, 2048  # numbers of x that are unpacked at a time, in so many rows at least


def takes(layer: nn.Module, x: Tensor) -> bool:
    """Whether ``layer`` is a plain linear layer and its input [N, in] large enough to be worth it."""
    return (
        isinstance(layer, nn.Linear)  # the arithmetic below is that of this class's own forward, and of no other
        and type(layer).forward is nn.Linear.forward
        and kernels.current().enabled
        and not torch.compiler.is_compiling()
        and kernels.on_cpu(x)
        and x.ndim == 2
        and x.dtype == layer.weight.dtype
        and x.numel() >= LEAST
        and not torch.is_autocast_enabled("cpu")
    )


def spike_linear(layer: nn.Linear, x: Tensor, active: Entries | None = None) -> Tensor:
    """Return ``layer(x)`` for x [N, in]; (2) is asked for at the entries ``active`` of x alone (active_set.py)."""
    if not torch.is_grad_enabled():
        return product(x, layer.weight.t(), layer.bias)
    outputs: Tensor = _SpikeLinear.apply(x, layer.weight, layer.bias, active)
    return outputs


def share(x: Tensor) -> float:
    """Estimated share of non-zero numbers: those of rows taken at even distances."""
    rows = max(1, PROBED // x.shape[1])
    probe = x[:: max(1, len(x) // rows)]
    return float(torch.count_nonzero(probe)) / probe.numel()


def product(a: Tensor, b: Tensor, bias: Tensor | None = None) -> Tensor:
    """a [N, k] times b [k, m], plus bias [m]; rows of b are added up where a is sparse."""
    if share(a) > SPARSE:
        return a @ b if bias is None else torch.addmm(bias, a, b)
    return gather(a, b, bias)


def gather(a: Tensor, b: Tensor, bias: Tensor | None = None) -> Tensor:
    """The same from the rows of b where a is not 0, whatever its share."""
    from snnlab.kernels import cpu

    outputs = a.new_empty(len(a), b.shape[1])
    start = b.new_zeros(b.shape[1]) if bias is None else bias.contiguous()
    given = (a.contiguous(), b.contiguous(), start, outputs)
    threads.share(cpu.gather, len(a), *(t.numpy() for t in given), least=16)
    return outputs


def add_outer(sums: Tensor, a: Tensor, b: Tensor, sparse: bool) -> None:
    """Add a' b to sums [k, m], for a [N, k] and b [N, m]; ``sparse`` says that a is."""
    if not sparse:
        sums.addmm_(a.t(), b)
        return
    from snnlab.kernels import cpu

    threads.share(cpu.scatter, a.shape[1], *(t.contiguous().numpy() for t in (a, b)), sums.numpy(), least=16)


class _SpikeLinear(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, active: Entries | None) -> Tensor:
        ctx.active = active
        outputs = product(x, weight.t(), bias)  # (1)
        if ctx.needs_input_grad[1]:
            ctx.saved = pack(x)
            ctx.share = share(x)
            ctx.packed = isinstance(ctx.saved, Packed)
            ctx.save_for_backward(weight, None if ctx.packed else x)
            if not ctx.packed:
                del ctx.saved
        else:
            ctx.save_for_backward(weight, None)
        return outputs

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        kernels.first_derivative()
        weight, x = ctx.saved_tensors
        g = grads[0].contiguous()
        of_weight = _of_weight(ctx.saved if ctx.packed else x, ctx.share, g) if ctx.needs_input_grad[1] else None
        of_x = _of_input(g, weight, ctx.active) if ctx.needs_input_grad[0] else None  # (2)
        of_bias = g.sum(0) if ctx.needs_input_grad[2] else None  # (4)
        return of_x, of_weight, of_bias, None


def _of_input(g: Tensor, weight: Tensor, active: Entries | None) -> Tensor:
    """(2), at the active entries alone where they are known."""
    if active is None:
        return product(g, weight)
    from snnlab.kernels import active as kernel

    return kernel.product_at_entries(g, active, weight).flatten(0, 1)


def _of_weight(saved: Tensor | Packed, density: float, g: Tensor) -> Tensor:
    """(3), a part of the rows at a time."""
    inputs, of_g = saved.shape[1], share(g)
    by_input = density <= min(SPARSE, of_g)  # the sparser side is gathered
    sparse = by_input or of_g <= SPARSE
    sums = g.new_zeros((inputs, g.shape[1]) if by_input else (g.shape[1], inputs))
    for rows, part in _parts(saved, g):
        add_outer(sums, *((rows, part) if by_input else (part, rows)), sparse)
    return sums.t() if by_input else sums


def _parts(saved: Tensor | Packed, g: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield x and g some rows at a time, all at once where x is not packed; x lies in one buffer."""
    if isinstance(saved, Tensor):
        yield saved, g
        return
    step = min(max(ROWS, UNPACKED // saved.shape[1]), len(g))
    buffer = g.new_empty(step, saved.shape[1])
    for first in range(0, len(g), step):
        part = g[first : first + step]
        rows = buffer[: len(part)]
        unpack_rows(saved, first, rows)
        yield rows, part
