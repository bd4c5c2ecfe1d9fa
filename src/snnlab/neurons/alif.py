"""Leaky integrate-and-fire neuron with an adaptive threshold.

    v[t] = decay * v[t-1] + gain * current[t]                          (1) gain as in lif.py
    a[t] = decay_a * a[t-1] + (1 - decay_a) * spikes[t-1]              (2) trace of its spikes; a[-1] = spikes[-1] = 0
    spikes[t] = 1 where v[t] >= threshold + strength * a[t]            (3); at equality, unless strict
    v[t] = v[t] - (threshold + strength * a[t]) * spikes[t]            (4) reset="soft"; hard and none as in lif.py

With strength 0 there is no trace, and the neuron is the LIF of lif.py.
Source: Yin, Corradi, Bohte 2021, 2023 (threshold 0.1, strength 1.8); Bellec et al. 2018 for the idea.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from snnlab.neurons.lif import LIF, Leak, Reset
from snnlab.neurons.neuron import check_state
from snnlab.neurons.surrogate import Surrogate
from snnlab.neurons.time import units


class ALIFState(NamedTuple):
    """v, adaptation, spikes [B, ...]: membrane potential after the reset, trace a, and spikes of this step."""

    v: Tensor
    adaptation: Tensor
    spikes: Tensor


class ALIF(LIF):
    """LIF whose threshold rises with its spikes and falls back.

    Args:
        decay, threshold, reset, detach_reset, detach_state, leak, v_reset, surrogate: as in LIF.
        decay_adaptation: factor of a kept per step, in [0, 1], no unit.
        strength: how far a trace of 1 raises the threshold, >= 0, in the unit of v; 0 freezes the threshold.

    Shapes: currents [T, B, ...] -> spikes [T, B, ...]; state.v, adaptation, spikes [B, ...].

    Raises:
        ValueError: when decay_adaptation or strength, or an argument of LIF, leaves its range.
    """

    times = units(decay="factor per step", decay_adaptation="factor per step")

    def __init__(
        self,
        decay: float = 0.9,
        threshold: float = 0.1,
        reset: Reset = "soft",
        detach_reset: bool = False,
        detach_state: bool = False,
        leak: Leak = "first",
        v_reset: float = 0.0,
        surrogate: Surrogate | None = None,
        decay_adaptation: float = 0.95,
        strength: float = 1.8,
    ) -> None:
        super().__init__(decay, threshold, reset, detach_reset, detach_state, leak, v_reset, surrogate)
        name = type(self).__name__
        if not 0 <= decay_adaptation <= 1:
            raise ValueError(f"{name}: decay_adaptation = {decay_adaptation} must lie in [0, 1]; 0.95 is 20 steps")
        if not strength >= 0:
            raise ValueError(
                f"{name}: strength = {strength} must not be negative; 1.8 is usual, 0 freezes the threshold"
            )
        self.decay_adaptation, self.strength = decay_adaptation, strength

    def initial_state(self, current: Tensor) -> ALIFState:  # type: ignore[override]
        return ALIFState(*(torch.zeros_like(current) for _ in ALIFState._fields))

    def step(self, current: Tensor, state: ALIFState) -> tuple[Tensor, ALIFState]:  # type: ignore[override]
        check_state(type(self).__name__, state.v, current)
        if self.detach_state:
            state = ALIFState(*(part.detach() for part in state))
        v = self.integrate(current, state.v)  # (1)
        adaptation, threshold = state.adaptation, self.limit(current)
        if self.strength:
            adaptation = self.adapt(current, state)  # (2)
            threshold = threshold + self.strength * adaptation
        spikes = self.spike(v - threshold)  # (3)
        reset_path = spikes.detach() if self.detach_reset else spikes
        if self.reset == "soft":  # (4)
            v = v - threshold * reset_path
        elif self.reset == "hard":
            v = v * (1 - reset_path) + self.v_reset * reset_path
        if self.leak == "last":
            v = self.decay * v
        return spikes, ALIFState(v, adaptation, spikes)

    def adapt(self, current: Tensor, state: ALIFState) -> Tensor:
        """Equation (2)."""
        return self.decay_adaptation * state.adaptation + (1 - self.decay_adaptation) * state.spikes

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, decay_adaptation={self.decay_adaptation}, strength={self.strength}"
