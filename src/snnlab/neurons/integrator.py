"""Readout that integrates and never fires.

    v[t] = decay * v[t-1] + gain * current[t]       (1) v[-1] = 0; decay 1 sums, decay 0 passes the current through

    leak="first"   gain = 1
    leak="scaled"  gain = 1 - decay     a constant current c drives v to c, whatever the decay

Its output at every step is v[t]; a method decides whether it scores the last step, the sum or each step.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

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
        leak: first or scaled, see above.

    Shapes: currents [T, B, K] -> v [T, B, K].

    Raises:
        ValueError: when decay leaves its range, or leak is unknown.
    """

    times = units(decay="factor per step")

    def __init__(self, decay: float = 1.0, leak: Literal["first", "scaled"] = "first") -> None:
        super().__init__()
        if not 0 <= decay <= 1:
            raise ValueError(f"Integrator: decay = {decay} must lie in [0, 1]; 1 sums without a leak")
        if leak not in ("first", "scaled"):
            raise ValueError(f"Integrator: leak = {leak!r} must be first or scaled")
        self.decay, self.leak = decay, leak

    @property
    def gain(self) -> float:
        """What a current counts for in (1)."""
        return 1 - self.decay if self.leak == "scaled" else 1.0

    def initial_state(self, current: Tensor) -> IntegratorState:
        return IntegratorState(v=torch.zeros_like(current))

    def step(self, current: Tensor, state: IntegratorState) -> tuple[Tensor, IntegratorState]:
        check_state("Integrator", state.v, current)
        v = self.decay * state.v + (current if self.leak == "first" else self.gain * current)  # (1)
        return v, IntegratorState(v=v)

    def response(self) -> Response:
        return one_exponential("Integrator", self.gain, self.decay, None)

    def extra_repr(self) -> str:
        return f"decay={self.decay}" + (f", leak={self.leak}" if self.leak != "first" else "")
