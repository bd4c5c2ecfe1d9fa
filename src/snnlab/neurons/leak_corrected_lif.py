"""LIF neuron with the leak-corrected pseudo-derivative of spike-based backpropagation.

    v[t] = v[t] + current[t]            (1) integrate; v[-1] = 0
    spikes[t] = 1 where v[t] > threshold    (2) strict
    v[t] = v[t] (1 - spikes[t])         (3) hard reset to 0
    v[t] = decay v[t]                   (4) the leak comes last

Backward, with what the whole spike train left behind:
    trace = sum over spikes at k of decay^(T-1-k)                       (5) leaky spike count
    gate = 1 + ln(decay) trace / count, 0 for a silent neuron           (6)
    dspikes[t]/dv[t] = gate slope spikes[t]                             (7) only at spikes, no window
    dv[t] after (3) / dv[t] before = 1 - spikes[t]                      (8) credit ends at a spike
    the leak (4) has derivative 1                                       (9) straight through
so the gradient of current[t] is that of the first spike at or after t, times gate slope: 0 where none follows.

Source:  Lee et al. 2020, doi 10.3389/fnins.2020.00119, with the authors' code; their slope is 1/threshold.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor

from snnlab.neurons.neuron import Neuron, check_state
from snnlab.neurons.response import Response, one_exponential
from snnlab.neurons.time import units

SILENT = 1e-3  # a leaky count (5) below it is silence: authors' code


class LeakCorrectedState(NamedTuple):
    """v [B, ...]: membrane potential after (4), in the unit of the threshold."""

    v: Tensor


class LeakCorrectedLIF(Neuron):
    """The equations are in the docstring of this file.

    ``forward`` and ``unroll`` see the whole sequence and apply (5) to (9). ``step`` does not know the spikes that are
    still to come: its gradient is that of gate 1, and ``unroll`` multiplies the gate in at the end.

    Args:
        decay: exp(-time_step / tau_membrane), in (0, 1], no unit; 1 is an IF neuron, whose gate is 1 where it fired.
        threshold: > 0, in the unit of v.
        slope: of (7); None takes 1/threshold.
        corrected: whether (6) is applied; False takes gate 1.
        late_inputs: whether the inputs after the last spike take the gradient of the last step, as the paper's
            formula does, which counts inputs up to T; False takes 0 for them, as the code does.

    Shapes: currents [T, B, ...] -> spikes [T, B, ...], same dtype and device; state.v [B, ...].

    Raises:
        ValueError: when decay, threshold or slope leaves its range.
    """

    times = units(decay="factor per step")

    def __init__(
        self,
        decay: float = 0.99,
        threshold: float = 1.0,
        slope: float | None = None,
        corrected: bool = True,
        late_inputs: bool = False,
    ) -> None:
        super().__init__()
        if not 0 < decay <= 1:
            raise ValueError(f"LeakCorrectedLIF: decay = {decay} must lie in (0, 1]; 0.99 is the paper's")
        if not threshold > 0:
            raise ValueError(f"LeakCorrectedLIF: threshold = {threshold} must be positive; 1.0 is the paper's")
        self.decay, self.threshold = decay, threshold
        self.slope = 1 / threshold if slope is None else slope
        if not self.slope > 0:
            raise ValueError(f"LeakCorrectedLIF: slope = {slope} must be positive; 1/threshold is the paper's")
        self.corrected, self.late_inputs = corrected, late_inputs

    def initial_state(self, current: Tensor) -> LeakCorrectedState:
        return LeakCorrectedState(torch.zeros_like(current))

    def step(self, current: Tensor, state: LeakCorrectedState) -> tuple[Tensor, LeakCorrectedState]:
        check_state("LeakCorrectedLIF", state.v, current)
        v = state.v + current  # (1)
        spikes = _Spike.apply(v, self.threshold, self.slope)  # (2), (7) with gate 1
        v = v * (1 - spikes.detach())  # (3), (8)
        return spikes, LeakCorrectedState(StraightThrough.apply(v, self.decay))  # (4), (9)

    def unroll(self, currents: Tensor, state: Any = None) -> tuple[Tensor, Any]:
        spikes, states = super().unroll(currents, state)
        if self.late_inputs:  # v carries the last step's gradient back to the last spike
            spikes = _Late.apply(spikes, states.v, self.slope)
        return self.gated(spikes), states

    def forward(self, currents: Tensor) -> Tensor:
        if self.late_inputs:
            return self.unroll(currents)[0]
        return self.gated(super().forward(currents))

    def gated(self, spikes: Tensor) -> Tensor:
        """The same spikes [T, B, ...], whose gradient is multiplied by (6)."""
        return _Gated.apply(spikes, self.gate(spikes.detach())) if self.corrected else spikes  # type: ignore[no-any-return]

    @torch.no_grad()
    def gate(self, spikes: Tensor) -> Tensor:
        """Equation (6): spikes [T, B, ...] -> gate [B, ...]. A factor on the spikes (dropout's) changes nothing."""
        ages = torch.arange(len(spikes) - 1, -1, -1, dtype=spikes.dtype, device=spikes.device)
        weights = torch.stack([self.decay**ages, torch.ones_like(ages)])
        trace, count = torch.tensordot(weights, spikes, 1)  # (5), and how many
        gate = trace * math.log(self.decay) / count.masked_fill_(count == 0, 1)
        return gate.add_(trace > SILENT)

    def response(self) -> Response:
        """eps[t] = decay^t, as the threshold sees it: before the leak."""
        return one_exponential("LeakCorrectedLIF", 1.0, self.decay, self.threshold)

    def extra_repr(self) -> str:
        return f"decay={self.decay}, threshold={self.threshold}, slope={self.slope:.4g}, corrected={self.corrected}"


class StraightThrough(torch.autograd.Function):
    """Multiply the value by a factor and leave the gradient alone."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, factor: float) -> Tensor:
        return factor * x

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        return grads[0], None


class _Spike(torch.autograd.Function):
    """Equations (2) and (7), gate 1."""

    @staticmethod
    def forward(ctx: Any, v: Tensor, threshold: float, slope: float) -> Tensor:
        spikes = (v > threshold).to(v.dtype)
        ctx.save_for_backward(spikes)
        ctx.slope = slope
        return spikes

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        (spikes,) = ctx.saved_tensors
        return grads[0] * spikes * ctx.slope, None, None


class _Gated(torch.autograd.Function):
    """Spikes [T, B, ...] as they are; their gradient times the gate [B, ...]."""

    @staticmethod
    def forward(ctx: Any, spikes: Tensor, gate: Tensor) -> Tensor:
        ctx.save_for_backward(gate)
        return spikes.view_as(spikes)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        (gate,) = ctx.saved_tensors
        return grads[0] * gate, None


class _Late(torch.autograd.Function):
    """Spikes as they are; slope times the last step's gradient also flows into the membrane of the last step."""

    @staticmethod
    def forward(ctx: Any, spikes: Tensor, v: Tensor, slope: float) -> Tensor:
        ctx.slope = slope
        ctx.save_for_backward(spikes[-1])
        return spikes.view_as(spikes)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, None]:
        membrane = torch.zeros_like(grads[0])
        membrane[-1] = ctx.slope * grads[0][-1]
        return grads[0], membrane, None
