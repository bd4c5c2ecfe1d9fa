"""A learning rate that falls in steps at shares of the training, whatever its number of epochs."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch.optim.lr_scheduler import MultiStepLR


class StepSchedule(MultiStepLR):
    """Multiply the learning rate by ``factor`` at each share of the training.

    A step is taken before the first epoch e (counted from 0) with e >= share * epochs: of 100 epochs at 50, 70 and
    90; of 3 epochs 0.5 falls before the third, 0.7 and 0.9 lie beyond the last one and are not taken. With ``late`` it
    is taken at the end of that epoch: 51, 20, 20 and 9 of 100 epochs have one rate, and 3 epochs keep the first.

    Args:
        optimizer: as for every scheduler of torch.
        epochs: of the whole training, at least 1.
        shares: of the training, each in (0, 1).
        factor: on the learning rate, > 0.
        late: whether the epoch e itself still has the rate before it.

    Raises:
        ValueError: when an argument leaves its range.
    """

    def __init__(
        self,
        optimizer: torch.optim.Optimizer,
        epochs: int,
        shares: Sequence[float] = (0.5, 0.7, 0.9),
        factor: float = 0.1,
        late: bool = False,
    ) -> None:
        if epochs < 1:
            raise ValueError(f"StepSchedule: epochs = {epochs} must be at least 1")
        if not all(0 < share < 1 for share in shares):
            raise ValueError(f"StepSchedule: shares = {list(shares)} must lie in (0, 1); [0.5, 0.7, 0.9] is usual")
        if not factor > 0:
            raise ValueError(f"StepSchedule: factor = {factor} must be positive; 0.1 is usual")
        first = [math.ceil(round(share * epochs, 6)) for share in shares]  # 0.7 * 30 is 21, not a hair above it
        super().__init__(optimizer, [epoch + late for epoch in first], gamma=factor)
