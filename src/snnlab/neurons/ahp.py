"""Leaky integrate-and-fire neuron with a slow after-hyperpolarising current (AHP), which remembers its own spikes.

    a[t] = (1 - 1/tau_a) * a[t-1] - w_a * spikes[t-1]       (1) auxiliary compartment; a[-1] = 0
    v[t] = decay * v[t-1] + current[t] + a[t]               (2) decay = 1 - 1/tau_v; v[-1] = 0
    spikes[t] = 1 where v[t] >= threshold                   (3) and spikes[t-1] = 0, where ``refractory``
    v[t] = v[t] - threshold * spikes[t]                     (4) reset="soft"; hard and none as in neurons/lif.py
    w_a = threshold * beta * (1 / (tau_a tau_v) - 1 / tau_a^2)      (5) 0 for the units that are plain LIF

The pull of one spike on v, t steps later, is threshold * beta / tau_a * ((1 - 1/tau_a)^t - decay^t): that of a
threshold that jumps by threshold * beta / tau_a and decays with tau_a, less a transient of length tau_v. No threshold
moves, which is what makes it fit a chip.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from snnlab.neurons.lif import Reset
from snnlab.neurons.neuron import Neuron, check_state
from snnlab.neurons.surrogate import DampedTriangle, Surrogate
from snnlab.neurons.time import units

BETA = 1_390_000 / (127 * 2**6)  # released constant over the threshold, mantissa 127 times 2^6 (our reading)


class AHPState(NamedTuple):
    """All [B, ...]: v membrane potential after the reset, a AHP current, spikes of the step."""

    v: Tensor
    a: Tensor
    spikes: Tensor


class AHP(Neuron):
    """LIF and AHP neurons in one layer, the AHP units last; the equations are in the docstring of this file.

    Args:
        features: units, or channels of a convolution.
        ahp: AHP units among them: their number where it is an int, else their share in [0, 1]; the others are LIF.
        decay: factor that v keeps per step, 1 - 1/tau_v, in [0, 1), no unit.
        tau_a: time constant of the AHP current in steps, above tau_v.
        beta: strength of the AHP current, >= 0, in thresholds x steps: one spike is worth beta / tau_a thresholds.
        threshold: > 0, in the unit of v.
        reset: soft, hard (v = 0, the chip's) or none.
        refractory: whether a step after a spike is silent.
        detach_reset: cut the gradient through the spikes of the reset (the AHP current keeps its own).
        detach_state: cut the gradient through v and a of the step before: spatial backpropagation only.
        surrogate: spike function of v - threshold; None takes the damped triangle of width threshold.

    Shapes: currents [T, B, features, ...] -> spikes, same shape, dtype and device; every field of the state [B, ...].

    Raises:
        ValueError: when an argument leaves its range.

    Source: Rao, Plank, Wild, Maass 2022, arXiv:2107.03992; their A, V, w_a, beta are a, v, w_a, threshold * beta.
    """

    times = units(decay="factor per step", tau_a="steps", beta="thresholds x steps", refractory="steps")
    w_a: Tensor

    def __init__(
        self,
        features: int,
        ahp: int | float = 0.5,
        decay: float = 0.95,
        tau_a: float = 700.0,
        beta: float = BETA,
        threshold: float = 1.0,
        reset: Reset = "soft",
        refractory: bool = True,
        detach_reset: bool = False,
        detach_state: bool = False,
        surrogate: Surrogate | None = None,
    ) -> None:
        super().__init__()
        if features < 1:
            raise ValueError(f"AHP: features = {features} must be at least 1")
        if isinstance(ahp, int) and not 0 <= ahp <= features:
            raise ValueError(f"AHP: ahp = {ahp} units must lie in 0 to {features}, the units of the layer; 0.5 is half")
        if not isinstance(ahp, int) and not 0 <= ahp <= 1:
            raise ValueError(f"AHP: ahp = {ahp} must be a share in [0, 1], or a whole number of units")
        if not 0 <= decay < 1:
            raise ValueError(f"AHP: decay = {decay} must lie in [0, 1); for tau_v = 20 steps 1 - 1/tau_v is 0.95")
        if not tau_a * (1 - decay) > 1 + 1e-9:
            raise ValueError(
                f"AHP: tau_a = {tau_a} steps must be above tau_v = 1 / (1 - decay) = {1 / (1 - decay):g}; "
                "700 is the paper's"
            )
        if not beta >= 0:
            raise ValueError(f"AHP: beta = {beta} must be 0 or more; {BETA:.0f} thresholds x steps is the paper's")
        if not threshold > 0:
            raise ValueError(f"AHP: threshold = {threshold} must be positive; 1.0 is usual")
        if reset not in ("soft", "hard", "none"):
            raise ValueError(f"AHP: reset = {reset!r} must be soft, hard or none")
        self.features, self.units = features, ahp if isinstance(ahp, int) else round(ahp * features)
        self.decay, self.tau_a, self.beta, self.threshold = decay, tau_a, beta, threshold
        self.decay_a = 1 - 1 / tau_a
        self.reset, self.refractory = reset, refractory
        self.detach_reset, self.detach_state = detach_reset, detach_state
        w_a = torch.zeros(features)
        w_a[features - self.units :] = threshold * beta * ((1 - decay) / tau_a - 1 / tau_a**2)  # (5)
        self.register_buffer("w_a", w_a)
        self.spike = surrogate if surrogate is not None else DampedTriangle(threshold)

    def initial_state(self, current: Tensor) -> AHPState:
        if current.ndim < 2 or current.shape[1] != self.features:
            raise ValueError(f"AHP: current {list(current.shape)} must be [B, {self.features}, ...]")
        zero = torch.zeros_like(current)
        return AHPState(zero, zero, zero)

    def step(self, current: Tensor, state: AHPState) -> tuple[Tensor, AHPState]:
        check_state("AHP", state.v, current)
        v, a, before = (part.detach() for part in state) if self.detach_state else state
        a = self.kept(a, self.decay_a) - self.broadcast_w_a(current) * before  # (1)
        v = self.kept(v, self.decay) + current + a  # (2)
        spikes = self.spike(v - self.threshold)  # (3)
        if self.refractory:
            spikes = spikes * (1 - before.detach())
        reset_path = spikes.detach() if self.detach_reset else spikes
        if self.reset == "soft":  # (4)
            v = v - self.threshold * reset_path
        elif self.reset == "hard":
            v = v * (1 - reset_path)
        return spikes, AHPState(v, a, spikes)

    def broadcast_w_a(self, current: Tensor) -> Tensor:
        """w_a [features] shaped to multiply a current [B, features, ...]."""
        return self.w_a if current.ndim == 2 else self.w_a.view(-1, *[1] * (current.ndim - 2))

    def extra_repr(self) -> str:
        return (
            f"{self.features - self.units} LIF + {self.units} AHP, decay={self.decay}, tau_a={self.tau_a}, "
            f"beta={self.beta:g}, threshold={self.threshold}, reset={self.reset}, refractory={self.refractory}"
        )
