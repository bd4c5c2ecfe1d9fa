"""Leaky integrate-and-fire neuron whose spikes arrive one step after they were fired.

    v[t] = decay * v[t-1] + current[t]          (1) v[-1] = 0
    fired[t] = 1 where v[t] >= threshold        (2)
    v[t] = v[t] - threshold * fired[t]          (3)
    spikes[t] = fired[t-1]                      (4) spikes[0] = 0: what is fired at the last step arrives nowhere

Source: Gerlinghoff et al. 2023, arXiv:2211.05412, authors' code, whose layers read what was fired a step ago.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from snnlab.neurons.lif import LIF
from snnlab.neurons.neuron import Neuron, check_state
from snnlab.neurons.surrogate import Surrogate
from snnlab.neurons.time import units


class DelayedLIFState(NamedTuple):
    """v [B, ...]: membrane potential after the reset; fired [B, ...]: 0 or 1, what arrives at the next step."""

    v: Tensor
    fired: Tensor


class DelayedLIF(Neuron):
    """LIF with soft reset and a delay of one step; the equations are in the docstring of this file.

    Args:    decay in [0, 1]; threshold > 0; surrogate: spike function, as LIF's.
    Shapes:  currents [T, B, ...] -> spikes [T, B, ...], same dtype and device.
    Raises:  ValueError when decay or threshold leaves its range.
    """

    times = units(decay="factor per step")

    def __init__(self, decay: float = 0.75, threshold: float = 1.0, surrogate: Surrogate | None = None) -> None:
        super().__init__()
        neuron = LIF(decay, threshold, surrogate=surrogate)  # says what is out of range
        self.decay, self.threshold, self.spike = neuron.decay, neuron.threshold, neuron.spike

    def initial_state(self, current: Tensor) -> DelayedLIFState:
        return DelayedLIFState(torch.zeros_like(current), torch.zeros_like(current))

    def step(self, current: Tensor, state: DelayedLIFState) -> tuple[Tensor, DelayedLIFState]:
        check_state("DelayedLIF", state.v, current)
        v = self.kept(state.v, self.decay) + current  # (1)
        fired = self.spike(v - self.threshold)  # (2)
        return state.fired, DelayedLIFState(v - self.threshold * fired, fired)  # (3), (4)

    def extra_repr(self) -> str:
        return f"decay={self.decay}, threshold={self.threshold}"
