"""Weights that are the difference of two conductances, as a parametrization.

    G+, G- = the pair of V                  (1) of memristor.py (3): one of them ``low``, the other by |V| above it
    W  = reach / (high - low) (G+ - G-)     (2) V where |V| <= reach, else +- reach
    V <- clip(V, -reach, reach)             (3) after each step of the optimizer, by ``clip``

V is what is learned, with the gradient of W. ``hardware=memristor`` has devices in place of (1): pulses, spread, noise.
Source: Zhou et al. 2022, arXiv:2206.12992, for conductances in pairs; reach is ours.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrize import register_parametrization

from snnlab.errors import InputError
from snnlab.weights.find import weights_inside
from snnlab.weights.memristor import Memristor
from snnlab.weights.straight import straight
from snnlab.weights.weight import Weight


class ConductancePair(nn.Module):
    """V -> W of (2).

    Args:
        reach: largest weight, > 0.
        memristor: its conductances low and high.

    Raises:
        InputError: when an argument leaves its range.
    """

    def __init__(self, reach: float = 1.0, memristor: Memristor = Memristor()) -> None:  # noqa: B008  immutable
        super().__init__()
        if not 0 < reach < float("inf"):
            raise InputError(f"conductance pair: reach = {reach} must be positive, the largest weight; 1.0 is usual")
        memristor.check("conductance pair: ")
        self.reach, self.memristor = reach, memristor
        self.scale = reach / (memristor.high - memristor.low)

    def forward(self, values: Tensor) -> Tensor:
        positive, negative = self.conductances(values.detach())
        return straight(values, self.scale * (positive - negative))

    def right_inverse(self, weight: Tensor) -> Tensor:
        """What is stored of a weight that is set from outside: the nearest that a pair can be."""
        return weight.clamp(-self.reach, self.reach)

    def conductances(self, values: Tensor) -> tuple[Tensor, Tensor]:
        """G+ and G- of (1), S."""
        return self.memristor.pair(values, self.scale)

    def extra_repr(self) -> str:
        return f"reach={self.reach}"


def keep_in_pairs(weight: Weight, reach: float) -> None:
    """Let ``weight`` be a pair of conductances from now on; its bias stays a number."""
    register_parametrization(weight.layer, "weight", ConductancePair(reach))


@torch.no_grad()
def clip(module: nn.Module) -> None:
    """(3) for every pair of ``module``."""
    for _, weight in weights_inside(module):
        for part in weight.values.parts:
            if isinstance(part, ConductancePair):
                weight.stored.clamp_(-part.reach, part.reach)
