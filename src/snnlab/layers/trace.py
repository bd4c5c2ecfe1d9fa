"""Weights that learn from a presynaptic trace.

    trace_pre[t] = decay * trace_pre[t-1] + spikes[t]       (1) trace_pre[-1] = 0
    output[t]    = W spikes[t] + b                          (2) the value knows nothing of the trace
    dL/dW        = g[t] trace_pre[t]^T                      (3) g[t] = dL/d(output[t]); dL/db = g[t]
    dL/dspikes   = W^T g[t]                                 (4)

With decay 0 the trace is the spike, and (3) is what autograd does.
Source: Xiao et al. 2022 (arXiv:2210.04195v2), eq. 4; the authors' code runs the layer twice, this one runs it once.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn.grad import conv2d_input, conv2d_weight

from snnlab.layers.over_time import over_time
from snnlab.neurons.neuron import Temporal


class _TracedLinear(torch.autograd.Function):
    """(2) forward, (3) and (4) backward, of a Linear: spikes, trace [B, N], weight [M, N]."""

    @staticmethod
    def forward(ctx: Any, spikes: Tensor, trace: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(trace, weight)
        return nn.functional.linear(spikes, weight, bias)

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator]
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        trace, weight = ctx.saved_tensors
        grad = grad.to(weight.dtype)  # they differ under mixed precision
        to_spikes, _, to_weight, to_bias = ctx.needs_input_grad
        return (
            grad @ weight if to_spikes else None,  # (4)
            None,
            grad.flatten(0, -2).T @ trace.to(grad).flatten(0, -2) if to_weight else None,  # (3)
            grad.flatten(0, -2).sum(0) if to_bias else None,
        )


class _TracedConv2d(torch.autograd.Function):
    """(2) forward, (3) and (4) backward, of a Conv2d: spikes, trace [B, C, H, W]."""

    @staticmethod
    def forward(
        ctx: Any, spikes: Tensor, trace: Tensor, weight: Tensor, bias: Tensor | None, layer: nn.Conv2d
    ) -> Tensor:
        ctx.save_for_backward(trace, weight)
        ctx.geometry = (layer.stride, layer.padding, layer.dilation, layer.groups)
        return nn.functional.conv2d(spikes, weight, bias, *ctx.geometry)

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator]
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        trace, weight = ctx.saved_tensors
        grad = grad.to(weight.dtype)
        to_spikes, _, to_weight, to_bias, _ = ctx.needs_input_grad
        return (
            conv2d_input(trace.shape, weight, grad, *ctx.geometry) if to_spikes else None,  # (4)
            None,
            conv2d_weight(trace.to(grad), weight.shape, grad, *ctx.geometry) if to_weight else None,  # (3)
            grad.sum((0, 2, 3)) if to_bias else None,
            None,
        )


class TraceState(NamedTuple):
    """trace_pre [B, ...]: decayed sum of the layer's inputs so far, the present one included; carries no gradient."""

    trace_pre: Tensor


class Traced(Temporal):
    """Wrap ``layer`` so that its weight learns from the trace of its input; equations in the docstring of this file.

    Args:
        layer: a Linear or Conv2d, with or without parametrizations.
        decay: factor of the trace kept per step, in [0, 1], no unit.

    Shapes: spikes [T, B, ...] -> outputs [T, B, ...], those of ``layer``.

    Raises:
        ValueError: when decay leaves its range, or ``layer`` is neither a Linear nor a Conv2d.
    """

    def __init__(self, layer: nn.Module, decay: float) -> None:
        super().__init__()
        if not 0 <= decay <= 1:
            raise ValueError(f"Traced: decay = {decay} must lie in [0, 1]; that of the neuron, 0.5, is usual")
        if not isinstance(layer, nn.Linear | nn.Conv2d):
            raise ValueError(f"Traced: a {type(layer).__name__} has no trace rule; wrap a Linear or a Conv2d")
        self.layer, self.decay = layer, decay

    def initial_state(self, current: Tensor) -> TraceState:
        return TraceState(torch.zeros_like(current))

    def step(self, current: Tensor, state: TraceState) -> tuple[Tensor, TraceState]:
        if self.decay == 0:
            return self.layer(current), TraceState(current.detach())
        trace = torch.add(current.detach(), state.trace_pre.detach(), alpha=self.decay)  # (1)
        return self.apply_layer(current, trace), TraceState(trace)

    def forward(self, currents: Tensor) -> Tensor:
        if self.decay == 0 or not torch.is_grad_enabled():  # nothing will ask for the trace
            return over_time(self.layer, currents)
        trace, traces = torch.zeros_like(currents[0]), []
        for current in currents.detach():
            trace = torch.add(current, trace, alpha=self.decay)  # (1)
            traces.append(trace)
        merged = self.apply_layer(currents.flatten(0, 1), torch.cat(traces))  # [T*B, ...]
        return merged.unflatten(0, currents.shape[:2])

    def apply_layer(self, spikes: Tensor, trace: Tensor) -> Tensor:
        """Return (2), with (3) and (4) as its gradient."""
        layer = self.layer
        if not torch.is_grad_enabled():
            return layer(spikes)  # type: ignore[no-any-return]
        if isinstance(layer, nn.Conv2d):
            return _TracedConv2d.apply(spikes, trace, layer.weight, layer.bias, layer)
        return _TracedLinear.apply(spikes, trace, layer.weight, layer.bias)

    def extra_repr(self) -> str:
        return f"decay={self.decay}"


def detached(state: Any) -> Any:
    """Return a network's states (tensors in dicts and tuples, nested as they are) without their gradient."""
    if isinstance(state, Tensor):
        return state.detach()
    if isinstance(state, dict):
        return {name: detached(part) for name, part in state.items()}
    if isinstance(state, tuple):
        parts = [detached(part) for part in state]
        return type(state)(*parts) if hasattr(state, "_fields") else tuple(parts)
    return state
