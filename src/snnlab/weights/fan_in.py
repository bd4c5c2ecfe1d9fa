"""Weights of which each output keeps the largest, as a parametrization: W = V among the ``most`` largest |V|, else 0.

What is left out goes on learning, straight through, and may return: the choice follows |V|. Of equal ones the first
is kept.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrize import register_parametrization

from snnlab.errors import InputError
from snnlab.weights.weight import Weight


class _Kept(torch.autograd.Function):
    """mask * V forward, the whole gradient backward."""

    @staticmethod
    def forward(ctx: object, values: Tensor, mask: Tensor) -> Tensor:
        return values * mask

    @staticmethod
    def backward(ctx: object, *grads: Tensor) -> tuple[Tensor, None]:
        return grads[0], None


class Largest(nn.Module):
    """V -> W with at most ``most`` values beside 0 for each output, the first dimension."""

    def __init__(self, most: int) -> None:
        super().__init__()
        if most < 1:
            raise InputError(f"Largest: most = {most} must be at least 1")
        self.most = most

    def forward(self, values: Tensor) -> Tensor:
        kept: Tensor = _Kept.apply(values, self.mask(values.detach()))
        return kept

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
