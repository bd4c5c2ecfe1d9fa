"""Readout that integrates and never fires.

    v[t] = decay * v[t-1] + current[t]      (1) v[-1] = 0; decay 1 sums, decay 0 passes the current through

Its output at every step is v[t]; a method decides whether it scores the last step, the sum or each step.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from snnlab.neurons.neuron import Temporal, check_state
from snnlab.neurons.response import Response, one_exponential
from snnlab.neurons.time import units


class IntegratorState(NamedTuple):
    """v [B, ...]: membrane potential."""

    v: Tensor


class Integrator(Temporal):
    """Non-spiking leaky integrator.

    Args:
        decay: factor kept per step, in [0, 1], no unit.

    Shapes: currents [T, B, K] -> v [T, B, K].

    Raises:
        ValueError: when decay leaves its range.
    """

    times = units(decay="factor per step")

    def __init__(self, decay: float = 1.0) -> None:
        super().__init__()
        if not 0 <= decay <= 1:
            raise ValueError(f"Integrator: decay = {decay} must lie in [0, 1]; 1 sums without a leak")
        self.decay = decay

    def initial_state(self, current: Tensor) -> IntegratorState:
        return IntegratorState(v=torch.zeros_like(current))

    def step(self, current: Tensor, state: IntegratorState) -> tuple[Tensor, IntegratorState]:
        check_state("Integrator", state.v, current)
        v = self.decay * state.v + current  # (1)
        return v, IntegratorState(v=v)

    def response(self) -> Response:
        return one_exponential("Integrator", 1.0, self.decay, None)

    def extra_repr(self) -> str:
        return f"decay={self.decay}"
