"""How much is it, in levels that follow each other? Naming a neighbour is better than naming a level far away.

answer = round(sum over k of k p_k), p = softmax(sharpness * scores)
distance = mean of |answer - target|
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric

from snnlab.questions.class_of_sequence import ClassOfSequence
from snnlab.questions.question import Answered, Monitor


class Distance(Metric):
    """Mean distance of the answers to scores [B, K] from targets [B], in levels."""

    total: Tensor
    count: Tensor

    def __init__(self, answer: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.answer = answer
        self.add_state("total", torch.tensor(0.0), "sum")
        self.add_state("count", torch.tensor(0.0), "sum")

    def update(self, scores: Tensor, targets: Tensor) -> None:
        self.total += (self.answer(scores) - targets).abs().sum()
        self.count += len(targets)

    def compute(self) -> Tensor:
        return self.total / self.count


@dataclass(frozen=True)
class Level(ClassOfSequence):
    """A class of the sequence, so that whoever answers that answers this; read and judged in its own way.

    Args:
        sharpness: of the softmax, > 0.
    """

    sentence = "a level"
    monitor: Monitor = ("val/distance", "min")
    sharpness: float = 10.0

    def answer(self, scores: Tensor) -> Tensor:
        levels = torch.arange(scores.shape[-1], device=scores.device, dtype=scores.dtype)
        return (torch.softmax(self.sharpness * scores, -1) @ levels).round().long()

    def caption(self, targets: Tensor, sample: int) -> str:
        return f"level {int(targets[sample])}"

    def metrics(self, outputs: int) -> dict[str, Metric]:
        return super().metrics(outputs) | {"distance": Distance(self.answer)}

    def pictures(self, answered: Answered, outputs: int) -> dict[str, Callable[[], Any]]:
        return super().pictures(answered, outputs) | {"distances": lambda: distances_figure(answered)}


def distances_figure(answered: Answered) -> Any:
    """How many answers are how far from their targets, on the test split."""
    import matplotlib.pyplot as plt

    apart = torch.cat([answers - targets for answers, targets in answered()])
    figure, axis = plt.subplots(figsize=(3.6, 2.8))
    places, counts = apart.unique(return_counts=True)
    axis.bar(places, counts)
    axis.set(xlabel="answer - target (levels)", ylabel="test samples")
    return figure
