"""Neurons whose state lies on levels, as in the memory of a chip: rounded and saturated inside ``step``.

    state[t] = unit * clip(round(state'[t] / unit), low, high)  (1) state' is what the neuron's own step makes of it
    kept(v)  = unit * cut(v / unit * (4096 - d) / 4096)         (2) decay="4096ths": d = round(4096 (1 - decay)), and
                                                                    the cut is towards 0
    kept(v)  = v - unit * max(floor(v / unit / 2^k), 1)         (3) decay="shifts": decay = 1 - 2^-k; the 1 is for
                                                                    v >= unit alone
    (1), (2) and (3) have the gradients of what they round; beyond low and high it is 0                         (4)
    current  = unit * round(current / unit)                     (5) where all else is in whole numbers: no change then
                                                                    but to an image's numbers, or scaled spikes

Where weights, thresholds and currents are whole numbers of units too, and the unit is a power of two, every sum is
exact in 32 bits below 2^24 units, and (2) below 2^18: the network is then the one in whole numbers that the chip runs.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from snnlab.neurons.neuron import Temporal

COUNTS = ("spikes", "seen", "resting", "inhibited")  # fields of states that count events or steps
EXACT = 2.0**24  # whole numbers up to this are exact in 32 bits
PART = 64.0  # a number of up to 18 bits is multiplied by one of 12 in two parts of 24


@dataclass(frozen=True)
class Levels:
    """unit: a power of two, in the unit of the membrane; low, high: whole numbers; decay: how a state decays.

    whole: whether currents are rounded to units, too: (5).
    """

    unit: float
    low: float
    high: float
    decay: Literal["any", "4096ths", "shifts", "none"] = "any"
    whole: bool = False


class _Rounded(torch.autograd.Function):
    """(1), and (4)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, levels: Levels) -> Tensor:
        whole = torch.floor(x * (1 / levels.unit) + 0.5)
        inside = (whole >= levels.low) & (whole <= levels.high)
        ctx.save_for_backward(inside)
        return whole.clamp(levels.low, levels.high) * levels.unit

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        (inside,) = ctx.saved_tensors
        return grads[0] * inside.to(grads[0].dtype), None


class _Kept(torch.autograd.Function):
    """(2) and (3), and (4)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, decay: float, levels: Levels) -> Tensor:
        ctx.decay = decay
        whole = x * (1 / levels.unit)
        if levels.decay == "4096ths":
            size, kept = whole.abs(), float(round(4096 * decay))
            high = torch.floor(size * (1 / PART))
            low = size - high * PART
            product = high * kept
            part = torch.floor(product * (1 / PART))
            rest = (product - part * PART) * PART + low * kept
            return whole.sign() * (part + torch.floor(rest * (1 / 4096))) * levels.unit
        lost = torch.floor(whole * (1 - decay))
        lost = torch.where((whole >= 1) & (lost < 1), torch.ones_like(lost), lost)
        return (whole - lost) * levels.unit

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        return grads[0] * ctx.decay, None, None


class OnLevels(Temporal):
    """Mixed into the class of a neuron by ``keep_on_levels``."""

    levels: Levels

    def step(self, current: Tensor, state: Any) -> tuple[Tensor, Any]:
        if self.levels.whole:
            current = _Rounded.apply(current, Levels(self.levels.unit, -EXACT, EXACT))  # (5)
        output, after = super().step(current, state)  # type: ignore[safe-super]
        rounded = {
            name: part if name in COUNTS else _Rounded.apply(part, self.levels)
            for name, part in zip(after._fields, after, strict=True)
        }
        return output, type(after)(**rounded)

    def kept(self, values: Tensor, decay: float | Tensor) -> Tensor:
        if self.levels.decay in ("any", "none") or not isinstance(decay, float):
            return super().kept(values, decay)
        kept: Tensor = _Kept.apply(values, decay, self.levels)
        return kept


@functools.cache
def on_levels(kind: type[Temporal]) -> type[Temporal]:
    """The class of neurons like ``kind`` whose state lies on levels; its name stays."""
    return type(kind.__name__, (OnLevels, kind), {"__module__": kind.__module__, "__doc__": kind.__doc__})


def keep_on_levels(neuron: Temporal, levels: Levels) -> None:
    """Let the state of ``neuron`` lie on levels from now on."""
    neuron.levels = levels  # type: ignore[assignment]
    neuron.__class__ = on_levels(type(neuron))  # type: ignore[arg-type]


def power_of_two(value: float) -> float:
    """The least power of two that is at least ``value``."""
    return 2.0 ** math.ceil(math.log2(value))
