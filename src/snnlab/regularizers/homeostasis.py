"""Homeostasis of firing: a lower and an upper bound on spike counts, each with a penalty.

n[b, i] = spikes of neuron i for sample b, summed over time
    R_lower = lower_strength * mean over b and i of max(0, lower - n[b, i])^2               (1) no neuron stays silent
    R_upper = upper_strength * mean over b of max(0, mean over i of n[b, i] - upper)^p      (2) a population stays quiet
    R = sum over the layers of R_lower + R_upper                                            (3) added to the loss

p is 2, or 1. Source: Rossbroich, Gygax, Zenke 2022, arXiv:2206.10226; strengths, bounds and means of the authors'
Randman notebook. p = 1, strength 0.06 above 1 spike: Perez-Nieves, Goodman 2021, arXiv:2105.08810, authors' code.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from snnlab.errors import InputError
from snnlab.regularizers.regularizer import Regularizer


class Homeostasis(Regularizer):
    """Penalty of the spikes of hidden layers; the equations are in the docstring of this file.

    Args:
        lower, upper: bounds, in spikes per sample, 0 <= lower <= upper.
        lower_strength, upper_strength: factors of (1) and (2), >= 0; 0 leaves the bound out.
        upper_power: p of (2), 1 or 2.

    Shapes: spikes [T, B, ...] of each layer -> a scalar.

    Raises:
        InputError: a bound, a strength or a power out of range.
    """

    def __init__(
        self,
        lower: float = 1e-3,
        lower_strength: float = 100.0,
        upper: float = 4.0,
        upper_strength: float = 0.1,
        upper_power: int = 2,
    ) -> None:
        if not 0 <= lower <= upper:
            raise InputError(
                f"regularizer: lower = {lower}, upper = {upper} must be 0 <= lower <= upper; 0.001 and 4 are usual"
            )
        for name, strength in (("lower_strength", lower_strength), ("upper_strength", upper_strength)):
            if not strength >= 0:
                raise InputError(f"regularizer: {name} = {strength} must be 0 (off) or more")
        if upper_power not in (1, 2):
            raise InputError(f"regularizer: upper_power = {upper_power} must be 1 or 2")
        self.lower, self.lower_strength = lower, lower_strength
        self.upper, self.upper_strength, self.upper_power = upper, upper_strength, upper_power

    def __call__(self, spikes: Mapping[str, Tensor]) -> Tensor:
        terms = []
        for layer in spikes.values():
            count = layer.sum(0).flatten(1)  # n [B, N]
            terms.append(self.lower_strength * (self.lower - count).relu().square().mean())  # (1)
            above = (count.mean(1) - self.upper).relu()
            terms.append(self.upper_strength * (above.square() if self.upper_power == 2 else above).mean())  # (2)
        return torch.stack(terms).sum() if terms else torch.zeros(())  # (3)
