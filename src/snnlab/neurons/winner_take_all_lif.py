"""Leaky integrate-and-fire neurons that inhibit each other and tire: at most one of a layer fires per step.

    I[t] = decay_synapse * I[t-1] + (1 - decay_synapse) * current[t]    (1) synaptic current
    J[t] = gain * I[t] - n[t-1]                                         (2) drive less adaptation
    v[t] = v[t-1] + (J[t] - v[t-1]) (1 - exp(-span[t] / tau_membrane))  (3) 0 where inhibited, and not below v_floor
    the neuron of largest v fires where that is >= threshold            (4) the first one of equals
    v = v_reset for it; v = 0 for all others, for inhibition_steps      (5)
    n[t] = n[t-1] + (time_step / tau_adaptation) (0 - n[t-1]) + adaptation * spikes[t]      (6)

n starts at the buffer ``adaptation_start``, which a method may carry from one sequence to the next and which is stored
with the weights. An inhibited neuron keeps its synaptic current and its adaptation going; only v is held.
span[t] and ``resting`` are those of neurons/signed_reset_lif.py.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from snnlab.neurons.neuron import Neuron, check_state
from snnlab.neurons.signed_reset_lif import SignedResetLIF
from snnlab.neurons.time import decay, units


class WinnerTakeAllState(NamedTuple):
    """All [B, N]: v, resting as in SignedResetLIF; current I; adaptation n; inhibited: steps that v is held at 0."""

    v: Tensor
    resting: Tensor
    current: Tensor
    adaptation: Tensor
    inhibited: Tensor


class WinnerTakeAllLIF(Neuron):
    """A layer of N adaptive neurons of which at most one fires per step; equations in the docstring of this file.

    Args:
        features: N.
        gain: of the synaptic current.
        tau_membrane, tau_refractory, time_step, threshold, v_reset: as in SignedResetLIF; v_floor is v_reset.
        tau_synapse: of (1), seconds; 0 passes the current through.
        inhibition_time: seconds for which the others are held after a spike, in whole steps; 0 only resets them.
        tau_adaptation: seconds.
        adaptation: what a spike adds to n, >= 0.

    Shapes: currents [T, B, N] -> spikes [T, B, N], at most one per step and sample.

    Raises:
        ValueError: when an argument leaves its range.

    Source: Garg et al. 2022, doi 10.3389/fnins.2022.983950 (VDSP), authors' code.
    """

    times = units(
        tau_membrane="s", tau_refractory="s", time_step="s", tau_synapse="s", inhibition_time="s", tau_adaptation="s"
    )
    adaptation_start: Tensor

    def __init__(
        self,
        features: int,
        gain: float = 2.0,
        tau_membrane: float = 0.06,
        tau_refractory: float = 0.002,
        time_step: float = 0.005,
        threshold: float = 1.0,
        v_reset: float = -1.0,
        tau_synapse: float = 0.005,
        inhibition_time: float = 0.01,
        tau_adaptation: float = 1.0,
        adaptation: float = 0.01,
    ) -> None:
        super().__init__()
        self.membrane = SignedResetLIF(
            gain, 0.0, tau_membrane, tau_refractory, time_step, threshold, v_reset, v_floor=v_reset
        )
        if features < 1:
            raise ValueError(f"WinnerTakeAllLIF: features = {features} must be at least 1")
        for key, value in (("tau_synapse", tau_synapse), ("inhibition_time", inhibition_time)):
            if value < 0:
                raise ValueError(f"WinnerTakeAllLIF: {key} = {value} must not be negative; 0 is none")
        if tau_adaptation < time_step:
            raise ValueError(
                f"WinnerTakeAllLIF: tau_adaptation = {tau_adaptation} must be at least a step of {time_step} s; "
                "1 is usual"
            )
        if adaptation < 0:
            raise ValueError(f"WinnerTakeAllLIF: adaptation = {adaptation} must not be negative; 0 is none")
        self.decay_synapse = decay(tau_synapse, time_step) if tau_synapse else 0.0
        self.inhibition_steps = round(inhibition_time / time_step)
        self.leak_adaptation, self.adaptation = time_step / tau_adaptation, adaptation
        self.register_buffer("adaptation_start", torch.zeros(features))

    def initial_state(self, current: Tensor) -> WinnerTakeAllState:
        zero = torch.zeros_like(current)
        return WinnerTakeAllState(zero, zero, zero, self.adaptation_start.to(current.dtype).expand_as(current), zero)

    def step(self, current: Tensor, state: WinnerTakeAllState) -> tuple[Tensor, WinnerTakeAllState]:
        check_state("WinnerTakeAllLIF", state.v, current)
        cell = self.membrane
        filtered = self.decay_synapse * state.current + (1 - self.decay_synapse) * current  # (1)
        v, resting = cell.integrate(cell.gain * filtered - state.adaptation, state.v, state.resting)  # (2), (3)
        v = torch.where(state.inhibited > 0, 0.0, v.clamp(min=cell.v_floor))
        fires = v.amax(-1, keepdim=True) >= cell.threshold
        spikes = nn.functional.one_hot(v.argmax(-1), v.shape[-1]).to(v.dtype) * fires  # (4)
        won = spikes > 0
        v = torch.where(won, cell.v_reset, torch.where(fires, 0.0, v))  # (5)
        resting = torch.where(won, float(cell.refractory_steps), resting)
        inhibited = torch.where(fires, self.inhibition_steps * (1 - spikes), (state.inhibited - 1).clamp(min=0))
        n = state.adaptation - self.leak_adaptation * state.adaptation + self.adaptation * spikes  # (6)
        return spikes, WinnerTakeAllState(v, resting, filtered, n, inhibited)

    def extra_repr(self) -> str:
        return f"{len(self.adaptation_start)}, adaptation={self.adaptation}, inhibition_steps={self.inhibition_steps}"
