"""Weights of which each output keeps the largest, as a parametrization: W = V among the ``most`` largest |V|, else 0.

What is left out goes on learning, straight through, and may return: the choice follows |V|. Of equal ones the first
is kept.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrize import register_parametrization

from snnlab.errors import InputError
from snnlab.weights.straight import straight
from snnlab.weights.weight import Weight


class Largest(nn.Module):
    """V -> W with at most ``most`` values beside 0 for each output, the first dimension."""

    def __init__(self, most: int) -> None:
        super().__init__()
        if most < 1:
            raise InputError(f"Largest: most = {most} must be at least 1")
        self.most = most

    def forward(self, values: Tensor) -> Tensor:
        return straight(values, values.detach() * self.mask(values.detach()))

    @torch.no_grad()
    def mask(self, values: Tensor) -> Tensor:
        size = values.abs().flatten(1)
        order = size.argsort(dim=1, descending=True, stable=True)[:, : self.most]
        return torch.zeros_like(size).scatter_(1, order, 1.0).view_as(values)

    def extra_repr(self) -> str:
        return f"most={self.most}"


def keep_largest(weight: Weight, most: int) -> None:
    """Let each output of ``weight`` have at most ``most`` synapses from now on."""
    register_parametrization(weight.layer, "weight", Largest(most))
