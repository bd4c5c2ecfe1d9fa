"""Dropout with one mask per batch, held over time."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from snnlab import ranks
from snnlab.neurons.neuron import Temporal


class DropoutState(NamedTuple):
    """mask [B, ...]: 0 or 1/(1 - p), the same at every step."""

    mask: Tensor


class HeldDropout(Temporal):
    """Drop the same units at every step of a batch, scaled by 1/(1 - p); the identity in evaluation.

    Args:
        p: probability that a unit is dropped, in [0, 1).

    Shapes: [T, B, ...] -> [T, B, ...].

    Raises:
        ValueError: when p leaves its range.
    """

    def __init__(self, p: float) -> None:
        super().__init__()
        if not 0 <= p < 1:
            raise ValueError(f"HeldDropout: p = {p} must lie in [0, 1); 0.2 is usual")
        self.p = p

    def initial_state(self, current: Tensor) -> DropoutState:
        if not self.training or self.p == 0:
            return DropoutState(torch.ones_like(current))
        return DropoutState((ranks.of_whole(torch.rand_like, current, 0) >= self.p).to(current.dtype) / (1 - self.p))

    def step(self, current: Tensor, state: DropoutState) -> tuple[Tensor, DropoutState]:
        return current * state.mask, state

    def forward(self, currents: Tensor) -> Tensor:
        if not self.training or self.p == 0:
            return currents
        return currents * self.initial_state(currents[0]).mask

    def extra_repr(self) -> str:
        return f"p={self.p}"
