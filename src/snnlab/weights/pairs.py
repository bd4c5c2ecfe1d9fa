"""Weights that are the difference of two conductances, both of which are learned: a parametrization of two tensors.

    W  = reach (x+ - x-)                                (1) x+, x- in [0, 1], what is stored and learned
    G+ = low + x+ (high - low), G- likewise             (2) the conductances: W = reach / (high - low) (G+ - G-)
    x+, x- <- clip(x+, x-, 0, 1)                        (3) after each step of the optimizer, by ``clip``

A weight that is set from outside becomes the pair of memristor.py (3): one of the two at ``low``, the other above it by
the weight's size, at most at ``high``: exact in [-reach, reach], clipped beyond.

Source: Zhou et al. 2022, arXiv:2206.12992, for conductances in pairs; reach is ours.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrize import register_parametrization

from snnlab.errors import InputError
from snnlab.weights.find import weights_inside
from snnlab.weights.memristor import Memristor
from snnlab.weights.weight import Weight


class ConductancePair(nn.Module):
    """x+, x- -> W of (1).

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

    def forward(self, positive: Tensor, negative: Tensor) -> Tensor:
        return self.reach * (positive - negative)

    def right_inverse(self, weight: Tensor) -> tuple[Tensor, Tensor]:
        """The pair of a weight that is set from outside."""
        return (weight / self.reach).clamp(0, 1), (-weight / self.reach).clamp(0, 1)

    def conductances(self, positive: Tensor, negative: Tensor) -> tuple[Tensor, Tensor]:
        """G+ and G- of (2), S."""
        return self.memristor.conductance(positive), self.memristor.conductance(negative)

    def extra_repr(self) -> str:
        return f"reach={self.reach}"


def keep_in_pairs(weight: Weight, reach: float) -> None:
    """Let ``weight`` be a pair of conductances from now on; its bias stays a number."""
    register_parametrization(weight.layer, "weight", ConductancePair(reach))


@torch.no_grad()
def clip(module: nn.Module) -> None:
    """(3) for every pair of ``module``."""
    for _, weight in weights_inside(module):
        if any(isinstance(part, ConductancePair) for part in weight.values.parts):
            chain = weight.layer.parametrizations["weight"]  # type: ignore[index]
            for stored in (chain.original0, chain.original1):  # type: ignore[union-attr]
                stored.clamp_(0, 1)
