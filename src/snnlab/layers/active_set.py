"""A linear layer and the LIF neurons behind it, trained through the entries alone where the surrogate is not 0.

    c[t] = W x[t] + b,  s = LIF(c)          x [T, B, I], s [T, B, J]
    A    = {(t, b, j): |v[t] - threshold| < reach}                                      active entries
    e    = h(v - threshold) dL/ds           at the entries of A, 0 elsewhere            (1)
    dW[j, i] = sum over A of e[t, b, j] trace[t, b, i],  trace[t] = decay trace[t-1] + x[t]         (2)
    dx[t]    = W' delta[t],  delta[t] = decay delta[t+1] + e[t]                                     (3)

The gradient of the current is delta: filtered back in time, it is not sparse, so (2) moves the filter to the input. Of
(3) only the active entries of the layer below are worked out, which multiplies all others by 0. These are the numbers
that autograd finds for a ``Truncated`` surrogate and a reset outside of the graph, in another order of sums.

Source: Perez-Nieves, Goodman 2021, arXiv:2105.08810, eq. 11 to 14. Kernels: kernels/active.py, on the CPU.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor, nn

from snnlab import kernels
from snnlab.kernels.sight import hooked
from snnlab.layers import spike_linear
from snnlab.layers.over_time import notice, plain
from snnlab.neurons.lif import LIF, LIFState
from snnlab.neurons.surrogate import Truncated

if TYPE_CHECKING:
    from snnlab.kernels.active import Entries


@dataclass
class Count:
    """What one layer's backward visits: active of all entries, and the products of (2) once it has run."""

    active: int = 0
    entries: int = 0
    products: int = 0


_counts: ContextVar[dict[nn.Module, Count] | None] = ContextVar("active_counts", default=None)


@contextmanager
def counting() -> Iterator[dict[nn.Module, Count]]:
    """Count, by neuron layer, what is visited of sequences that start while the context is open."""
    counts: dict[nn.Module, Count] = {}
    token = _counts.set(counts)
    try:
        yield counts
    finally:
        _counts.reset(token)


def joins(layer: nn.Module, neuron: nn.Module, frames: Tensor) -> bool:
    """Whether ``layer`` and ``neuron`` learn together from active entries, for frames [T, B, I] of few spikes."""
    return (
        type(neuron) is LIF
        and unwatched(neuron)
        and type(neuron.spike) is Truncated
        and neuron.spike.skip
        and neuron.spike.strict
        and neuron.detach_reset
        and not neuron.detach_state
        and (neuron.reset, neuron.leak) == ("soft", "first")
        and torch.is_grad_enabled()
        and frames.ndim == 3
        and frames.is_contiguous()
        and plain(layer, (nn.Linear,))
        and spike_linear.takes(layer, frames.view(-1, frames.shape[2]))
        and spike_linear.share(frames.view(-1, frames.shape[2])) <= spike_linear.SPARSE
    )


def unwatched(neuron: nn.Module) -> bool:
    """Whether nobody waits for the call of a neuron but those who look at its spikes."""
    own = neuron._forward_pre_hooks or neuron._backward_hooks or neuron._backward_pre_hooks or "forward" in vars(neuron)
    return not (own or hooked(neuron))


def currents(layer: nn.Module, neuron: nn.Module, frames: Tensor) -> Tensor:
    """The currents [T, B, J] of frames [T, B, I], without gradient; ``neuron`` makes of them spikes that have it."""
    from snnlab.kernels import active as kernel

    weight: Any = layer.weight  # asked for once, with its graph: a constraint may make it
    bias: Any = layer.bias
    inputs = kernel.nonzero(frames.detach())
    found = kernel.currents(inputs, weight.detach(), None if bias is None else bias.detach())
    notice(layer, found[-1])
    joined = Joined(neuron, found, inputs, getattr(frames, "active", None))  # type: ignore[arg-type]
    spikes, active = _ActiveSet.apply(frames, weight, bias, joined)
    spikes.active = active
    kernels.foresee(found, spikes)
    return found


class Joined(NamedTuple):
    """The neurons behind a linear layer, their currents [T, B, J], the input's entries, and the active ones below."""

    neuron: LIF
    currents: Tensor
    inputs: Entries
    below: Entries | None


class _ActiveSet(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, joined: Joined) -> tuple[Tensor, Entries]:
        from snnlab.kernels import active as kernel

        neuron, found = joined.neuron, joined.currents
        spike: Any = neuron.spike
        spikes, active, last = kernel.fired(found, neuron.decay, neuron.threshold, spike.reach)
        if (watch := kernels.watched_by()) is not None:
            watch.started(neuron, neuron.initial_state(found[0]))
            watch.ended(neuron, LIFState(last))
        if (counts := _counts.get()) is not None:
            ctx.count = counts.setdefault(neuron, Count())
            ctx.count.active += len(active.values)
            ctx.count.entries += found.numel()
        else:
            ctx.count = Count()
        ctx.active, ctx.inputs, ctx.below = active, joined.inputs, joined.below
        ctx.decay, ctx.spike, ctx.shape = neuron.decay, spike, x.shape
        ctx.save_for_backward(weight)
        return spikes, active

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> tuple[Tensor | None, ...]:
        from snnlab.kernels import active as kernel

        kernels.first_derivative()
        (weight,) = ctx.saved_tensors
        slopes = ctx.spike.scale * ctx.spike.derivative(ctx.active.values)
        e = kernel.multiplied(ctx.active._replace(values=slopes), grads[0].contiguous())  # (1)
        of_x = of_weight = of_bias = None
        if ctx.needs_input_grad[0]:
            of_x = kernel.gradient_of_input(e, ctx.below, ctx.decay, weight, ctx.shape)  # (3)
        if ctx.needs_input_grad[1]:
            of_weight, products = kernel.gradient_of_weight(e, ctx.inputs, ctx.decay, weight.shape)  # (2)
            ctx.count.products += products
        if ctx.needs_input_grad[2]:
            of_bias = kernel.gradient_of_bias(e, ctx.decay, len(weight))
        return of_x, of_weight, of_bias, None
