"""The AHP neuron in whole numbers, as a chip with 12-bit decays works it out.

    keep(x, d) = x (4096 - d) / 4096, cut towards 0         (1) d = int(4096 / tau)
    a[t] = keep(a[t-1], d_a) - f w_a * spikes[t-1]          (2) f = ``finer`` for units with w_a > 0, 1 for the others
    v[t] = clip(keep(v[t-1], d_v) + f current[t] + a[t])    (3) to the bits of the membrane
    spikes[t] = 1 where v[t] >= f threshold                 (4) and spikes[t-1] = 0, where ``refractory``
    v[t] = 0 where spikes[t] = 1                            (5) reset="hard"; v[t] - f threshold with reset="soft"

By (1) every number loses at least 1 a step: a spike of w_a = 96 would be forgotten after 97 steps with f = 1, whatever
tau_a is, and lasts 384 with f = 4. v and a of a unit are in its own unit, 1 / f of the current's.
``arithmetic="integer"`` holds int64 and shifts bits; ``"float"`` holds float64, multiplies and rounds. While |v| and
|a| stay below 2^41 no product of (1) leaves what float64 holds exactly, so that both give the same spikes.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from snnlab.neurons.ahp import AHPState
from snnlab.neurons.neuron import Neuron, check_state
from snnlab.neurons.time import units

DECAY_BITS = 12
ONE = 1 << DECAY_BITS


def keep(x: Tensor, decay: int) -> Tensor:
    """(1): what is left of x, int64 or float64, after a step with the decay d = ``decay``."""
    if x.is_floating_point():
        return torch.trunc(x * (ONE - decay) / ONE)
    return x.sign() * ((x.abs() * (ONE - decay)) >> DECAY_BITS)


class IntegerAHP(Neuron):
    """AHP neurons in whole numbers; the equations are in the docstring of this file.

    Args:
        w_a: [features], whole numbers; 0 for the units that are plain LIF.
        decay_v, decay_a: d of (1), in 0 to 4096; 4096 forgets at once.
        threshold: whole number > 0.
        reset: soft or hard.
        refractory: whether a step after a spike is silent.
        bits: of the membrane with its sign; 24 holds -2^23 + 1 to 2^23 - 1.
        arithmetic: integer or float.
        finer: f, how much finer the units with an AHP current are worked out, 1 to 64; 4 is the authors'.

    Shapes: currents [T, B, features], whole numbers in any dtype -> spikes, same shape, dtype and device.

    Raises:
        ValueError: when an argument leaves its range.

    Source: Rao, Plank, Wild, Maass 2022 (arXiv:2107.03992), code; their thrAdaScale is finer. The cut towards 0 and the
            clip are our reading of it.
    """

    times = units(decay_v="4096ths per step", decay_a="4096ths per step", refractory="steps")
    w_a: Tensor
    unit: Tensor

    def __init__(
        self,
        w_a: Tensor,
        decay_v: int,
        decay_a: int,
        threshold: int,
        reset: Literal["soft", "hard"] = "hard",
        refractory: bool = True,
        bits: int = 24,
        arithmetic: Literal["integer", "float"] = "integer",
        finer: int = 4,
    ) -> None:
        super().__init__()
        for name, decay in (("decay_v", decay_v), ("decay_a", decay_a)):
            if not 0 <= decay <= ONE:
                raise ValueError(f"IntegerAHP: {name} = {decay} must lie in 0 to {ONE}; {ONE} / tau, 204 for 20 steps")
        if threshold < 1:
            raise ValueError(f"IntegerAHP: threshold = {threshold} must be at least 1; 127 * 64 is the paper's")
        if not 8 <= bits <= 41:
            raise ValueError(f"IntegerAHP: bits = {bits} must lie in 8 to 41; the chip's membrane has 24")
        if not 1 <= finer <= 64:
            raise ValueError(f"IntegerAHP: finer = {finer} must lie in 1 to 64; the authors have 4")
        if reset not in ("soft", "hard"):
            raise ValueError(f"IntegerAHP: reset = {reset!r} must be soft or hard")
        if arithmetic not in ("integer", "float"):
            raise ValueError(f"IntegerAHP: arithmetic = {arithmetic!r} must be integer or float")
        self.register_buffer("w_a", w_a.to(torch.int64))
        self.register_buffer("unit", torch.where(self.w_a > 0, finer, 1))  # f
        self.decay_v, self.decay_a, self.threshold, self.bits = decay_v, decay_a, threshold, bits
        self.reset, self.refractory, self.arithmetic = reset, refractory, arithmetic
        self.number = torch.int64 if arithmetic == "integer" else torch.float64

    def initial_state(self, current: Tensor) -> AHPState:
        zero = torch.zeros_like(current, dtype=self.number)
        return AHPState(zero, zero, zero)

    def step(self, current: Tensor, state: AHPState) -> tuple[Tensor, AHPState]:
        check_state("IntegerAHP", state.v, current)
        limit = (1 << (self.bits - 1)) - 1
        threshold = self.unit * self.threshold
        a = keep(state.a, self.decay_a) - self.unit * self.w_a * state.spikes  # (2)
        v = (keep(state.v, self.decay_v) + self.unit * current.to(self.number) + a).clamp(-limit, limit)  # (3)
        spikes = (v >= threshold).to(self.number)  # (4)
        if self.refractory:
            spikes = spikes * (1 - state.spikes)
        v = v - threshold * spikes if self.reset == "soft" else v * (1 - spikes)  # (5)
        return spikes.to(current.dtype), AHPState(v, a, spikes)

    def extra_repr(self) -> str:
        return (
            f"{len(self.w_a)}, decays={self.decay_v}/{ONE}, {self.decay_a}/{ONE}, threshold={self.threshold}, "
            f"reset={self.reset}, bits={self.bits}, arithmetic={self.arithmetic}"
        )
