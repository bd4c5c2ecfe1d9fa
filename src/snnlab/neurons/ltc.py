"""Liquid time-constant spiking neuron, and the readout that integrates with a liquid rate.

    rate[t]   = sigmoid(M [current[t], v[t-1]] + m)                  (1) 1 / tau_m, in steps
    keep_a[t] = sigmoid(N [current[t], a[t-1]] + n)                  (2) where the threshold adapts
    v[t] = v[t-1] + rate[t] * (current[t] - v[t-1])                  (3) v[-1] = 0, after the reset of the step before
    a[t] = keep_a[t] * a[t-1] + (1 - keep_a[t]) * spikes[t-1]        (4) a[-1] = spikes[-1] = 0
    spikes[t] = 1 where v[t] >= threshold + strength * a[t]          (5); at equality, unless strict
    v[t] = v[t] * (1 - spikes[t])                                    (6) reset="hard"; soft and none as in alif.py

M and N join the units of the layer: every unit's time constant follows from the currents and states of all. With M = 0
the rate is a constant, and the neuron is the ALIF with leak="scaled" and decay = 1 - rate; with strength 0 the LIF.
On maps [B, C, H, W] they join the channels of each place.

Source: Yin, Corradi, Bohte 2023, arXiv:2112.11231, whose u, b are v, a; threshold 0.1 and strength 1.8, for the adding
task 0.5 and 0. The weights start as those of any linear layer.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from snnlab.neurons.alif import ALIF, ALIFState
from snnlab.neurons.integrator import IntegratorState
from snnlab.neurons.lif import Reset
from snnlab.neurons.neuron import Temporal, check_state
from snnlab.neurons.response import Response
from snnlab.neurons.surrogate import Surrogate
from snnlab.neurons.time import units


class Gate(nn.Module):
    """sigmoid(M [a, b] + m) of two tensors [B, N] or [B, N, H, W] each; M and m start as a linear layer's.

    No nn.Linear: no spikes reach it, and what counts synaptic operations leaves it out.

    Args:
        features: N.
    """

    def __init__(self, features: int) -> None:
        super().__init__()
        bound = (2 * features) ** -0.5
        self.weight = nn.Parameter(torch.empty(features, 2 * features).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(features).uniform_(-bound, bound))

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        both = torch.cat((a, b), 1)
        if both.dim() == 4:
            return torch.sigmoid(nn.functional.conv2d(both, self.weight[:, :, None, None], self.bias))
        return torch.sigmoid(nn.functional.linear(both, self.weight, self.bias))


class LTC(ALIF):
    """Spiking neuron whose time constants are worked out at every step.

    Args:
        features: units, or channels of a map, >= 1.
        threshold, reset, detach_reset, detach_state, v_reset, strength, surrogate: as in ALIF; strength 0 freezes the
            threshold, and there is no N.

    Shapes: currents [T, B, features(, H, W)] -> spikes, the same; state.v, adaptation, spikes [B, ...].

    Raises:
        ValueError: when an argument leaves its range.
    """

    times = units()  # all of them are learned, and worked out at every step

    def __init__(
        self,
        features: int,
        threshold: float = 0.1,
        reset: Reset = "hard",
        detach_reset: bool = False,
        detach_state: bool = False,
        v_reset: float = 0.0,
        surrogate: Surrogate | None = None,
        strength: float = 1.8,
    ) -> None:
        if features < 1:
            raise ValueError(f"LTC: features = {features} must be at least 1, the units of the layer")
        super().__init__(
            0.5, threshold, reset, detach_reset, detach_state, "scaled", v_reset, surrogate, strength=strength
        )
        self.membrane_gate = Gate(features)
        self.adaptation_gate = Gate(features) if strength else None

    def integrate(self, current: Tensor, v: Tensor) -> Tensor:
        return torch.lerp(v, current, self.membrane_gate(current, v))  # (1), (3)

    def adapt(self, current: Tensor, state: ALIFState) -> Tensor:
        assert self.adaptation_gate is not None
        return torch.lerp(state.spikes, state.adaptation, self.adaptation_gate(current, state.adaptation))  # (2), (4)

    def response(self) -> Response:
        return Temporal.response(self)  # no fixed one: its rates follow input and state

    def extra_repr(self) -> str:
        return f"threshold={self.threshold}, reset={self.reset}, strength={self.strength}"


class LiquidIntegrator(Temporal):
    """Readout without spikes: (1) and (3), its output is v[t].

    Args:
        features: outputs K.

    Shapes: currents [T, B, K] -> v [T, B, K].
    """

    def __init__(self, features: int) -> None:
        super().__init__()
        self.gate = Gate(features)

    def initial_state(self, current: Tensor) -> IntegratorState:
        return IntegratorState(v=torch.zeros_like(current))

    def step(self, current: Tensor, state: IntegratorState) -> tuple[Tensor, IntegratorState]:
        check_state("LiquidIntegrator", state.v, current)
        v = torch.lerp(state.v, current, self.gate(current, state.v))
        return v, IntegratorState(v=v)
