"""The time until something is touched, at every step: targets and scores [T, B, 1] in seconds, targets > 0.

    relative_error   mean over steps and samples of |answer - right| / right
    constant_error   that of the one number that would have the smallest error on these very targets
    clock_error      that of the best number for each step: what can be said without looking, by a clock alone

The best number is the median of the targets weighted by 1 / right. The two are figures of the targets, not of a method,
and stand beside its own: who does not stay below them has seen nothing. Both are chosen on what they are scored on,
which a method is not, and are the harder to stay below for it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor
from torchmetrics import Metric

from snnlab.errors import InputError
from snnlab.questions.question import Monitor
from snnlab.questions.value_per_step import ValuePerStep


@dataclass(frozen=True)
class TimeToContact(ValuePerStep):
    """How long is it until contact?"""

    sentence = "the time to contact at every step"
    monitor: Monitor = ("val/relative_error", "min")
    unit: ClassVar[str] = "time to contact, s"

    def check(self, targets: Tensor, outputs: int) -> None:
        super().check(targets, outputs)
        if not bool((targets > 0).all()):
            raise InputError(f"targets: {self.sentence} is above 0 s, and one is {float(targets.min()):.3g}")

    def caption(self, targets: Tensor, sample: int) -> str:
        return f"contact in {float(targets[-1, sample, 0]):.2f} s after the last step"

    def loss(self, scores: Tensor, targets: Tensor) -> Tensor:
        """The relative error itself, mean over steps and samples."""
        return ((scores - targets).abs() / targets).mean()

    def metrics(self, outputs: int) -> dict[str, Metric]:
        return {
            "relative_error": RelativeError(),
            "constant_error": BlindError(),
            "clock_error": BlindError(clock=True),
        }


class RelativeError(Metric):  # type: ignore[misc]
    """Mean of |answer - right| / right."""

    higher_is_better = False
    total: Tensor
    count: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.add_state("total", torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("count", torch.zeros((), dtype=torch.long), dist_reduce_fx="sum")

    def update(self, scores: Tensor, targets: Tensor) -> None:
        self.total += ((scores - targets).abs() / targets).double().sum()
        self.count += targets.numel()

    def compute(self) -> Tensor:
        return self.total / self.count


class BlindError(Metric):  # type: ignore[misc]
    """The smallest relative error of an answer that does not look at the input.

    Args:
        clock: whether it may name another number at each step.
    """

    higher_is_better = False
    targets: Any  # [B, T] of each batch

    def __init__(self, clock: bool = False) -> None:
        super().__init__()
        self.clock = clock
        self.add_state("targets", [], dist_reduce_fx="cat")

    def update(self, scores: Tensor, targets: Tensor) -> None:
        self.targets.append(targets[..., 0].T)

    def compute(self) -> Tensor:
        given = (torch.cat(self.targets) if isinstance(self.targets, list) else self.targets).double()
        columns = (given if self.clock else given.reshape(-1, 1)).sort(0).values  # whatever the order of the processes
        best = torch.stack([weighted_median(column, 1 / column) for column in columns.T])
        return ((best - columns).abs() / columns).mean()


def weighted_median(values: Tensor, weights: Tensor) -> Tensor:
    """The value that halves the weights of ``values`` [N]: it minimises the sum of weights |value - x|."""
    order = values.argsort()
    below = weights[order].double().cumsum(0)
    return values[order[torch.searchsorted(below, below[-1] / 2).clamp(max=len(order) - 1)]]
