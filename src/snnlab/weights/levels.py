"""Weights on the whole-numbered levels of a target, while what is learned stays fine.

    W = unit * level,  level = clip(step * round(V / (unit step)), low, high)   (1) rounds half up
    W = unit * sign(V)                                                          (2) where 0 is no level; 0 is +, -0 -
    dL/dV = dL/dW                                                               (3) straight through, past the ends too

The unit follows V, so that training, evaluation and export find the same: with n = high levels on a side

    unit = max |V| / n                              n > 15, or the least that leaves no value beyond low and high
    unit = min(max |V| / n, 2 mean |V| / sqrt(n))   2 <= n <= 15 (the start of LSQ: Esser et al. 2020)
    unit = mean of the |V| above 0.7 mean |V|       n = 1: ternary (Li, Zhang, Liu 2016), who leave 0 below that
    unit = mean |V|                                 (2): binary (Rastegari et al. 2016)

A *power of two* (whole numbers): unit = 2^k, the least that is at least the above and ``least``, at most ``most``.
A layer of both signs may have other levels than one of a single sign.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrize import register_parametrization

from snnlab.errors import InputError
from snnlab.weights.straight import straight
from snnlab.weights.weight import Weight

TERNARY = 0.7  # of the mean |V|: what is smaller is 0


@dataclass(frozen=True)
class Levels:
    """low, high: whole numbers around 0; step: distance of two levels; zero: whether 0 is one."""

    low: int
    high: int
    step: int = 1
    zero: bool = True


class OnLevels(nn.Module):
    """V -> W of (1) or (2).

    Args:
        one_sign: levels of a layer of one sign, given for the larger side; what is of the other sign is clipped there.
        mixed: those of a layer that holds both; None is the same.
        unit: one for a layer, or one for each output.
        power_of_two: whether the unit is one.
        least, most: between which it lies then.
        types: input i of a neuron has type i modulo this, and the neuron one value for each type, or 0; None: free.

    Raises:
        InputError: when an argument contradicts another.
    """

    def __init__(
        self,
        one_sign: Levels,
        mixed: Levels | None = None,
        unit: Literal["layer", "output"] = "layer",
        power_of_two: bool = False,
        least: float = 2.0**-126,
        most: float = math.inf,
        types: int | None = None,
    ) -> None:
        super().__init__()
        if types is not None and not power_of_two:
            raise InputError("OnLevels: types are for weights in whole numbers; give power_of_two=True")
        self.one_sign, self.mixed = one_sign, one_sign if mixed is None else mixed
        self.per, self.power_of_two, self.least, self.most, self.types = unit, power_of_two, least, most, types

    def forward(self, values: Tensor) -> Tensor:
        levels, unit = self.of(values)
        return straight(values, levels * unit)

    @torch.no_grad()
    def of(self, values: Tensor) -> tuple[Tensor, Tensor]:
        """The levels, whole numbers in the dtype of ``values``, and the unit that makes weights of them."""
        one = self._on(values, self.one_sign)
        if self.mixed == self.one_sign:
            return one
        mixed = (values < 0).any() & (values > 0).any()
        levels, unit = (torch.where(mixed, b, a) for a, b in zip(one, self._on(values, self.mixed), strict=True))
        return levels, unit

    def _on(self, values: Tensor, form: Levels) -> tuple[Tensor, Tensor]:
        """As ``of`` on these levels."""
        if self.types is not None:
            values = typed(values, self.types)
        unit = self._unit(values, form)
        if not form.zero:
            return torch.where(values.signbit(), -1.0, 1.0).to(values), unit
        if (form.low, form.high) == (-1, 1):
            return torch.where(self._large(values), values.sign(), 0.0), unit
        levels = torch.floor(values / (unit * form.step) + 0.5) * form.step
        return levels.clamp(form.low, form.high), unit

    def _unit(self, values: Tensor, form: Levels) -> Tensor:
        """What one level is worth, > 0, of a shape that broadcasts with the weight."""
        dims = self._dims(values)
        if not form.zero:
            unit = values.abs().mean(dims, keepdim=True)
        elif (form.low, form.high) == (-1, 1):
            large = self._large(values).to(values)
            unit = (values.abs() * large).sum(dims, keepdim=True) / large.sum(dims, keepdim=True).clamp(min=1)
        else:
            least, most = values.flatten(len(values.shape) - len(dims)).aminmax(dim=-1)
            unit = torch.maximum(most / form.high, least / form.low) if form.low < 0 else most / form.high
            unit = unit.view(-1, *[1] * (values.dim() - 1))
            if form.high <= 15:
                unit = torch.minimum(unit, 2 * values.abs().mean(dims, keepdim=True) / math.sqrt(form.high))
        unit = torch.where(unit > 0, unit, torch.ones_like(unit))  # all are 0
        if self.power_of_two:
            unit = torch.exp2(torch.ceil(torch.log2(unit))).clamp(self.least, self.most)
        return unit

    def _large(self, values: Tensor) -> Tensor:
        """Of ternary weights those that are not 0."""
        size = values.abs()
        return size > TERNARY * size.mean(self._dims(values), keepdim=True)

    def _dims(self, values: Tensor) -> tuple[int, ...]:
        """Over which dimensions one unit holds."""
        return tuple(range(1 if self.per == "output" else 0, values.dim()))


def typed(values: Tensor, types: int) -> Tensor:
    """The nearest weights [outputs, inputs] of which those of one neuron and type are one value, or 0.

    Of the values of a type those of the sign whose sum is larger are taken where they are above 0.7 of their mean
    size; the value is the mean of these.
    """
    made = torch.zeros_like(values)
    for kind in range(types):
        group = values[:, kind::types]
        if not group.numel():
            continue
        sign = torch.where(group.sum(1, keepdim=True) < 0, -1.0, 1.0).to(group)
        size = (group * sign).clamp(min=0)
        taken = (size > TERNARY * size.mean(1, keepdim=True)).to(group)
        made[:, kind::types] = (
            taken * sign * (size * taken).sum(1, keepdim=True) / taken.sum(1, keepdim=True).clamp(min=1)
        )
    return made


class OnUnit(nn.Module):
    """b -> unit * clip(round(b / unit), low, high), straight through, for biases; rounds half up; None is no end."""

    def __init__(self, unit: float, low: int | None, high: int | None) -> None:
        super().__init__()
        self.unit, self.low, self.high = unit, low, high

    def forward(self, values: Tensor) -> Tensor:
        whole = torch.floor(values.detach() / self.unit + 0.5)
        if self.low is not None:
            whole = whole.clamp(self.low, self.high)
        return straight(values, whole * self.unit)


def levels_of(weight: Weight) -> tuple[Tensor, Tensor]:
    """The levels of a weight whose last constraint is OnLevels, and the unit that makes ``used`` of them."""
    values: Tensor = weight.stored.detach()
    *before, last = (cast(Any, part) for part in weight.values.parts)
    for part in before:
        values = part(values)
    levels, unit = last.of(values)
    return levels, unit


def keep_on_levels(weight: Weight, levels: OnLevels) -> None:
    """Let the values of ``weight`` lie on levels from now on."""
    register_parametrization(weight.layer, "weight", levels)


def keep_bias_on(weight: Weight, unit: OnUnit) -> None:
    """Let the biases of ``weight`` be whole numbers of a unit from now on."""
    register_parametrization(weight.layer, "bias", unit)
