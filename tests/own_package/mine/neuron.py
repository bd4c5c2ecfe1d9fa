"""Quadratic integrate-and-fire neuron.

v[t] = v[t-1] + rate v[t-1] (v[t-1] - critical) + current[t]    (1) falls back below ``critical``, runs away above
spikes[t] = 1 where v[t] >= 1                                   (2)
v[t] = v[t] (1 - spikes[t])                                     (3)
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from snnlab.neurons.neuron import Neuron
from snnlab.neurons.surrogate import Surrogate, Triangle
from snnlab.neurons.time import units


class QuadraticState(NamedTuple):
    """v [B, ...]: membrane potential."""

    v: Tensor


class Quadratic(Neuron):
    """The equations are in the docstring of this file.

    Args:
        rate: strength of the quadratic term, per step.
        critical: v above which the neuron fires by itself, in (0, 1).
        surrogate: spike function of v - 1.

    Shapes: currents [T, B, ...] -> spikes [T, B, ...].

    Raises:
        ValueError: when critical leaves its range.
    """

    times = units(rate="per step")

    def __init__(self, rate: float = 0.5, critical: float = 0.8, surrogate: Surrogate | None = None) -> None:
        super().__init__()
        if not 0 < critical < 1:
            raise ValueError(f"Quadratic: critical = {critical} must lie in (0, 1); 0.8 is usual")
        self.rate, self.critical = rate, critical
        self.spike = Triangle(1.0) if surrogate is None else surrogate

    def initial_state(self, current: Tensor) -> QuadraticState:
        return QuadraticState(torch.zeros_like(current))

    def step(self, current: Tensor, state: QuadraticState) -> tuple[Tensor, QuadraticState]:
        v = state.v + self.rate * state.v * (state.v - self.critical) + current  # (1)
        spikes = self.spike(v - 1)  # (2)
        return spikes, QuadraticState(v * (1 - spikes.detach()))  # (3)
