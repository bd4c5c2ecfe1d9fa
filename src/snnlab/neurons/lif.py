"""Leaky integrate-and-fire neuron.

    v[t] = decay * v[t-1] + gain * current[t]       (1) leak and integrate; v[-1] = 0
    spikes[t] = 1 where v[t] >= threshold           (2) fire; equality fires, unless the surrogate is strict
    v[t] = v[t] - threshold * spikes[t]             (3) reset="soft"
    v[t] = v[t] * (1 - spikes[t]) + v_reset * spikes[t]     reset="hard"
    v[t] = v[t]                                             reset="none"

Three conventions of the leak are in use:
    leak="first"   gain = 1           v is compared after the leak: OTTT, BNTT, STBP's decay * u * (1 - o)
    leak="scaled"  gain = 1 - decay   a constant current c drives v to c, whatever the decay: PLIF
    leak="last"    v is integrated without a leak in (1) and multiplied by decay after (3): spike-based backprop
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from torch import Tensor

from snnlab.neurons.neuron import Neuron, check_state
from snnlab.neurons.response import Response, one_exponential
from snnlab.neurons.surrogate import Rectangle, Surrogate
from snnlab.neurons.time import units

Reset = Literal["soft", "hard", "none"]
Leak = Literal["first", "scaled", "last"]


class LIFState(NamedTuple):
    """v [B, ...]: membrane potential after the reset, in the unit of the threshold."""

    v: Tensor


class LIF(Neuron):
    """Leaky integrate-and-fire neuron; the equations are in the docstring of this file.

    Args:
        decay: exp(-time_step / tau_membrane), in [0, 1], no unit.
        threshold: > 0, in the unit of v.
        reset: soft (subtract the threshold), hard (set v to v_reset) or none.
        detach_reset: cut the gradient through the spikes of the reset.
        detach_state: cut the gradient through v[t-1]: spatial backpropagation only.
        leak: where the leak acts, see above.
        v_reset: value after a hard reset, in the unit of v.
        surrogate: spike function of v - threshold.

    Shapes: currents [T, B, ...] -> spikes [T, B, ...], same dtype and device; state.v [B, ...].

    Raises:
        ValueError: when decay or threshold leaves its range, or reset or leak is unknown.
    """

    times = units(decay="factor per step")

    def __init__(
        self,
        decay: float = 0.9,
        threshold: float = 1.0,
        reset: Reset = "soft",
        detach_reset: bool = False,
        detach_state: bool = False,
        leak: Leak = "first",
        v_reset: float = 0.0,
        surrogate: Surrogate | None = None,
    ) -> None:
        super().__init__()
        name = type(self).__name__
        if not 0 <= decay <= 1:
            raise ValueError(
                f"{name}: decay = {decay} must lie in [0, 1]; for tau_membrane = 20 ms and time_step = 1 ms it is 0.951"
            )
        if not threshold > 0:
            raise ValueError(f"{name}: threshold = {threshold} must be positive; 1.0 is usual")
        if reset not in ("soft", "hard", "none"):
            raise ValueError(f"{name}: reset = {reset!r} must be soft, hard or none")
        if leak not in ("first", "scaled", "last"):
            raise ValueError(f"{name}: leak = {leak!r} must be first, scaled or last")
        self.decay, self.threshold, self.v_reset = decay, threshold, v_reset
        self.reset, self.leak = reset, leak
        self.detach_reset, self.detach_state = detach_reset, detach_state
        self.spike = surrogate if surrogate is not None else Rectangle()

    def initial_state(self, current: Tensor) -> LIFState:
        return LIFState(v=torch.zeros_like(current))

    def step(self, current: Tensor, state: LIFState) -> tuple[Tensor, LIFState]:
        check_state(type(self).__name__, state.v, current)
        v = state.v.detach() if self.detach_state else state.v
        v = self.integrate(current, v)  # (1)
        threshold = self.limit(current)
        spikes = self.spike(v - threshold)  # (2)
        reset_path = spikes.detach() if self.detach_reset else spikes
        if self.reset == "soft":  # (3)
            v = v - threshold * reset_path
        elif self.reset == "hard":
            v = v * (1 - reset_path) + self.v_reset * reset_path
        if self.leak == "last":
            v = self.kept(v, self.decay)
        return spikes, LIFState(v=v)

    def limit(self, current: Tensor) -> float | Tensor:
        """The threshold, which a neuron may learn."""
        return self.threshold

    def integrate(self, current: Tensor, v: Tensor) -> Tensor:
        """Equation (1) in the chosen convention."""
        if self.leak == "first":
            return self.kept(v, self.decay) + current
        if self.leak == "scaled":
            return self.kept(v, self.decay) + (1 - self.decay) * current
        return v + current

    def response(self) -> Response:
        """eps[t] = gain * decay^t; with leak="last" too, where v is compared before it leaks."""
        gain = 1 - self.decay if self.leak == "scaled" else 1.0
        return one_exponential(type(self).__name__, gain, self.decay, self.threshold)

    def extra_repr(self) -> str:
        return f"decay={self.decay}, threshold={self.threshold}, reset={self.reset}, leak={self.leak}"
