"""Leaky integrate-and-fire neuron with a reset of opposite sign, so that the sign of v tells past from future.

    J[t] = gain * current[t] + bias                                     (1) drive
    v[t] = v[t-1] + (J[t] - v[t-1]) (1 - exp(-span[t] / tau_membrane))  (2) exact for a constant drive; v[-1] = 0
    spikes[t] = 1 where v[t] >= threshold                               (3) fire; equality fires
    v[t] = v_reset where a spike, else max(v[t], v_floor)               (4) v_reset < 0

v < 0: the neuron has just fired. v near the threshold: it is about to fire. Under a constant drive J > threshold v
crosses 0 at t0 = tau_membrane ln((J - v_reset) / J) after the refractory period.

span[t] is the part of the step in which the neuron is not refractory: after a spike the first tau_refractory seconds
do nothing. ``resting`` counts the steps that are touched by it, of which the last one may be so in part.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from snnlab.neurons.neuron import Neuron, check_state
from snnlab.neurons.time import pull, units


class SignedResetState(NamedTuple):
    """v [B, ...]: membrane potential after the reset; resting [B, ...]: steps touched by the refractory period."""

    v: Tensor
    resting: Tensor


class SignedResetLIF(Neuron):
    """LIF neuron with a negative reset; the equations are in the docstring of this file.

    Args:
        gain, bias: of the drive.
        tau_membrane, tau_refractory, time_step: seconds; the refractory period may be 0.
        threshold: > 0, in the unit of v.
        v_reset, v_floor: value after a spike and lowest value, v_floor <= v_reset < 0, in the unit of v.

    Shapes: currents [T, B, ...] -> spikes [T, B, ...], same dtype and device. The spikes carry no gradient.

    Raises:
        ValueError: when an argument leaves its range.

    Source: Garg et al. 2022, doi 10.3389/fnins.2022.983950 (VDSP), authors' code (constants); theirs fires above the
        threshold, and counts the refractory period from the instant within the step at which v crosses it.
    """

    times = units(tau_membrane="s", tau_refractory="s", time_step="s")

    def __init__(
        self,
        gain: float = 2.0,
        bias: float = 0.0,
        tau_membrane: float = 0.06,
        tau_refractory: float = 0.002,
        time_step: float = 0.005,
        threshold: float = 1.0,
        v_reset: float = -1.0,
        v_floor: float = -1.8,
    ) -> None:
        super().__init__()
        name = type(self).__name__
        for key, value in (("tau_membrane", tau_membrane), ("time_step", time_step), ("threshold", threshold)):
            if not value > 0:
                raise ValueError(f"{name}: {key} = {value} must be positive")
        if tau_refractory < 0:
            raise ValueError(f"{name}: tau_refractory = {tau_refractory} must not be negative; 0 is no refractory time")
        if not v_floor <= v_reset < 0:
            raise ValueError(f"{name}: v_floor = {v_floor} <= v_reset = {v_reset} < 0 is needed; -1.8 and -1 are usual")
        self.gain, self.bias, self.threshold = gain, bias, threshold
        self.v_reset, self.v_floor = v_reset, v_floor
        self.refractory_steps = math.ceil(tau_refractory / time_step - 1e-9)
        after = self.refractory_steps * time_step - tau_refractory  # seconds left of the last touched step
        self.pull = pull(tau_membrane, time_step)
        self.pull_after = pull(tau_membrane, after)

    def initial_state(self, current: Tensor) -> SignedResetState:
        return SignedResetState(torch.zeros_like(current), torch.zeros_like(current))

    def step(self, current: Tensor, state: SignedResetState) -> tuple[Tensor, SignedResetState]:
        check_state(type(self).__name__, state.v, current)
        v, resting = self.integrate(self.gain * current + self.bias, state.v, state.resting)
        fired = v >= self.threshold  # (3)
        one = torch.ones_like(v)
        v = torch.where(fired, self.v_reset * one, v.clamp(min=self.v_floor))  # (4)
        resting = torch.where(fired, self.refractory_steps * one, resting)
        return fired.to(current.dtype), SignedResetState(v, resting)

    def integrate(self, drive: Tensor, v: Tensor, resting: Tensor) -> tuple[Tensor, Tensor]:
        """(2): v before (3), and the steps that are still touched by the refractory period."""
        zero, one = torch.zeros_like(v), torch.ones_like(v)
        touched = torch.where(resting >= 1, self.pull_after * one, self.pull * one)
        pull = torch.where(resting >= 2, zero, touched)
        return v + (drive - v) * pull, (resting - 1).clamp(min=0)

    def extra_repr(self) -> str:
        return f"gain={self.gain}, bias={self.bias}, pull={self.pull:.4f}, v_reset={self.v_reset}"
