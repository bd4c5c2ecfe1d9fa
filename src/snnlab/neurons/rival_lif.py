"""Leaky integrate-and-fire neurons in groups that inhibit each other, with a threshold that training raises.

    r[t] = weight of rivals: spikes[t-1] of all groups at the same place less those of the own group     (1)
    v[t] = decay * v[t-1] + (current[t] - inhibition * r[t]) where not refractory, else decay * v[t-1]   (2)
    spikes[t] = 1 where v[t] >= threshold + theta                                                        (3)
    v[t] = 0 where a spike; the neuron then takes no current for refractory_steps                        (4)

v is counted from rest, to which a spike resets it. ``theta`` is a buffer, stored with the weights: whoever trains
raises it. Axis 1 of the currents holds the units, ``group`` of them one after the other in a group; further axes are
places.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from snnlab.neurons.neuron import Neuron, check_state
from snnlab.neurons.time import decay, units


class RivalState(NamedTuple):
    """All [B, N, ...]: v after the reset, steps that are still refractory, spikes of this step."""

    v: Tensor
    resting: Tensor
    spikes: Tensor


class RivalLIF(Neuron):
    """LIF neurons that inhibit those of other groups; the equations are in the docstring of this file.

    Args:
        shape: units, and places where there are some: [N, ...].
        group: units of a group, a divisor of N; 1 lets every unit inhibit all others at its place.
        tau_membrane, tau_refractory, time_step: seconds.
        threshold: above rest, > 0, in the unit of v.
        inhibition: what a spike takes from each rival at the next step, >= 0, in the unit of v.

    Shapes: currents [T, B, N, ...] -> spikes [T, B, N, ...].

    Raises:
        ValueError: when an argument leaves its range.

    Source: Ghaemi et al. 2022 (BioLCNet), authors' code on BindsNET; its constants from memory.
    """

    times = units(tau_membrane="s", tau_refractory="s", time_step="s")
    theta: Tensor

    def __init__(
        self,
        shape: tuple[int, ...],
        group: int = 1,
        tau_membrane: float = 0.1,
        tau_refractory: float = 0.005,
        time_step: float = 0.001,
        threshold: float = 13.0,
        inhibition: float = 100.0,
    ) -> None:
        super().__init__()
        for name, value in (("tau_membrane", tau_membrane), ("time_step", time_step), ("threshold", threshold)):
            if not value > 0:
                raise ValueError(f"RivalLIF: {name} = {value} must be positive; 0.1, 0.001 and 13 are usual")
        for name, value in (("tau_refractory", tau_refractory), ("inhibition", inhibition)):
            if not value >= 0:
                raise ValueError(f"RivalLIF: {name} = {value} must not be negative; 0 is none")
        if group < 1 or shape[0] % group:
            raise ValueError(f"RivalLIF: group = {group} must divide the {shape[0]} units")
        self.group, self.threshold, self.inhibition = group, threshold, inhibition
        self.decay = decay(tau_membrane, time_step)
        self.refractory_steps = round(tau_refractory / time_step)
        self.register_buffer("theta", torch.zeros(shape))

    def initial_state(self, current: Tensor) -> RivalState:
        return RivalState(*(torch.zeros_like(current) for _ in RivalState._fields))

    def step(self, current: Tensor, state: RivalState) -> tuple[Tensor, RivalState]:
        check_state("RivalLIF", state.v, current)
        groups = state.spikes.unflatten(1, (-1, self.group)).sum(2)  # [B, N / group, ...]
        rivals = (groups.sum(1, keepdim=True) - groups).repeat_interleave(self.group, 1)  # (1)
        taken = torch.where(state.resting > 0, 0.0, current - self.inhibition * rivals)
        v = self.decay * state.v + taken  # (2)
        fired = v >= self.threshold + self.theta.to(v.dtype)  # (3)
        resting = torch.where(fired, float(self.refractory_steps), (state.resting - 1).clamp(min=0))
        spikes = fired.to(current.dtype)
        return spikes, RivalState(torch.where(fired, 0.0, v), resting, spikes)  # (4)

    def extra_repr(self) -> str:
        return f"{list(self.theta.shape)}, group={self.group}, threshold={self.threshold}, inhibition={self.inhibition}"
