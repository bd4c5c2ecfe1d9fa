"""Accuracy where a tie for the highest score is an error, whichever of the tied classes is the right one."""

from __future__ import annotations

from torch import Tensor
from torchmetrics.classification import MulticlassAccuracy


class UniqueAccuracy(MulticlassAccuracy):
    """Share of targets [B] whose score is higher than every other one of scores [B, K]."""

    def __init__(self, classes: int) -> None:
        super().__init__(max(classes, 2), average="micro", validate_args=False)

    def update(self, scores: Tensor, targets: Tensor) -> None:
        best = scores.argmax(-1)
        tied = (scores == scores.amax(-1, keepdim=True)).sum(-1) > 1
        wrong = (targets + 1) % scores.shape[-1]
        super().update(wrong.where(tied, best), targets)
