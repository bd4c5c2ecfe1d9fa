"""Angle between what a learning rule does and what backpropagation would do."""

from __future__ import annotations

import torch
from torch import Tensor
from torchmetrics import Metric


def angle(update: Tensor, reference: Tensor) -> Tensor:
    """Return the angle in degrees, 0 to 180, between two tensors of one shape, read as vectors; NaN where one is 0.

    With unit vectors a and b it is 2 atan2(|a - b|, |a + b|), which stays exact where the arc cosine does not: near 0.
    """
    a, b = (vector.detach().flatten().double() for vector in (update, reference))
    a, b = a / a.norm(), b / b.norm()
    return torch.rad2deg(2 * torch.atan2((a - b).norm(), (a + b).norm()))


class Angle(Metric):
    """Mean angle in degrees over the updates it was shown; a layer whose update is 0 has none, and is left out.

    ``update(update, reference)`` takes two tensors of one shape; 0 is the same direction, 90 no relation, 180 opposite.
    """

    full_state_update = False
    total: Tensor
    count: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.add_state("total", torch.tensor(0.0, dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("count", torch.tensor(0.0, dtype=torch.float64), dist_reduce_fx="sum")

    def update(self, update: Tensor, reference: Tensor) -> None:
        value = angle(update, reference)
        known = torch.isfinite(value)
        self.total = self.total + torch.where(known, value, 0.0)
        self.count = self.count + known

    def compute(self) -> Tensor:
        return self.total / self.count  # NaN where no update had a direction
