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

from snnlab.layers.over_time import over_time, watched
from snnlab.neurons.neuron import Temporal
from snnlab.weights.find import weight_of
from snnlab.weights.weight import Weight


class _Traced(torch.autograd.Function):
    """(2) forward, (3) and (4) backward: spikes and trace [B, ...], W, b and the weight that knows their form."""

    @staticmethod
    def forward(ctx: Any, spikes: Tensor, trace: Tensor, used: Tensor, bias: Tensor | None, weight: Weight) -> Tensor:
        ctx.save_for_backward(trace, used)
        ctx.weight = weight
        return weight.layer(spikes) if watched(weight.layer) else weight.product(spikes, used, bias)

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator]
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        trace, used = ctx.saved_tensors
        grad = grad.to(used.dtype)  # they differ under mixed precision
        to_spikes, _, to_weight, to_bias, _ = ctx.needs_input_grad
        return (
            ctx.weight.back(grad, trace, used) if to_spikes else None,  # (4)
            None,
            ctx.weight.outer(grad, trace.to(grad)) if to_weight else None,  # (3)
            ctx.weight.sum_of(grad) if to_bias else None,
            None,
        )


class TraceState(NamedTuple):
    """trace_pre [B, ...]: decayed sum of the layer's inputs so far, the present one included; carries no gradient."""

    trace_pre: Tensor


class Traced(Temporal):
    """Wrap ``layer`` so that its weight learns from the trace of its input; equations in the docstring of this file.

    Args:
        layer: a weight, such as a Linear or Conv2d, with or without parametrizations.
        decay: factor of the trace kept per step, in [0, 1], no unit.

    Shapes: spikes [T, B, ...] -> outputs [T, B, ...], those of ``layer``.

    Raises:
        ValueError: when decay leaves its range, or ``layer`` is no weight.
    """

    def __init__(self, layer: nn.Module, decay: float) -> None:
        super().__init__()
        if not 0 <= decay <= 1:
            raise ValueError(f"Traced: decay = {decay} must lie in [0, 1]; that of the neuron, 0.5, is usual")
        if weight_of(layer) is None:
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
        weight = weight_of(self.layer)
        if weight is None or not torch.is_grad_enabled():
            return self.layer(spikes)  # type: ignore[no-any-return]
        bias = weight.bias_values
        return _Traced.apply(spikes, trace, weight.used, None if bias is None else bias.used, weight)  # type: ignore[no-any-return]

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
