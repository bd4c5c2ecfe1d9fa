"""What the questions for a class share: scores of K classes of which the highest is the answer, and accuracy."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torchmetrics import Metric
from torchmetrics.classification import MulticlassAccuracy

from snnlab import style
from snnlab.errors import InputError
from snnlab.questions.question import Answered, Monitor, Question

LEAST_SAMPLES = 2000  # of the test split, in a confusion matrix


class ClassAccuracy(MulticlassAccuracy):
    """Share of targets [...] whose score is the highest of scores [..., K]."""

    def __init__(self, classes: int) -> None:
        super().__init__(max(classes, 2), average="micro")

    def update(self, scores: Tensor, targets: Tensor) -> None:
        super().update(scores.movedim(-1, 1), targets)  # torchmetrics has the classes in axis 1


class Classes(Question):
    """A class is asked for, as a number from 0 to K - 1."""

    has_classes = True
    monitor: Monitor = ("val/accuracy", "max")

    def check(self, targets: Tensor, outputs: int) -> None:
        axes = 2 if self.per_step else 1
        if targets.is_floating_point() or targets.dim() != axes:
            raise InputError(
                f"targets {list(targets.shape)} of {targets.dtype}: {self.sentence} is a whole number for each "
                f"sample{', at every step: [T, B]' if self.per_step else ': [B]'}"
            )

    def answer(self, scores: Tensor) -> Tensor:
        """The class [...] of the highest score of [..., K]."""
        return scores.argmax(-1)

    def loss(self, scores: Tensor, targets: Tensor) -> Tensor:
        """Cross-entropy of scores [..., K] as logits, the mean over the targets [...]."""
        return nn.functional.cross_entropy(scores.flatten(0, -2), targets.flatten())

    def metrics(self, outputs: int) -> dict[str, Metric]:
        return {"accuracy": ClassAccuracy(outputs)}


class OneClass(Classes):
    """One class a sample: the right ones and the ones that were named make a matrix."""

    names: tuple[str, ...] = ()  # of the classes 0 to K - 1, where they have others

    def caption(self, targets: Tensor, sample: int) -> str:
        return f"class {int(targets[sample])}"

    def verdict(self, targets: Tensor, answers: Tensor, sample: int) -> str:
        told, said = self.caption(targets, sample), self.caption(answers, sample)
        return f"{told}, right" if told == said else f"{told}, wrong: {said.removeprefix('class ')}"

    def pictures(self, answered: Answered, outputs: int) -> dict[str, Callable[[], Any]]:
        return {"confusion_matrix": lambda: confusion_figure(answered, outputs, self.names)} if outputs > 1 else {}


def confusion_figure(answered: Answered, classes: int, names: Sequence[str] = ()) -> Any:
    """Counts of true against predicted class on the test split, at least its first 2,000 samples; shares of many."""
    import matplotlib.pyplot as plt
    from torchmetrics.functional.classification import multiclass_confusion_matrix

    counts = torch.zeros(classes, classes, dtype=torch.long)
    seen = 0
    for answers, labels in answered():
        counts += multiclass_confusion_matrix(answers, labels, classes)
        seen += len(labels)
        if seen >= LEAST_SAMPLES:
            break
    side = 4.4 if classes <= 10 else 6.4
    figure, axis = plt.subplots(figsize=(side + 0.8, side))
    shares = counts / counts.sum(1, keepdim=True).clamp(min=1)
    image = axis.imshow(shares, cmap=style.SHARES, vmin=0, vmax=1)
    for i, j in counts.nonzero().tolist() if classes <= 20 else ():
        colour = "white" if shares[i, j] > 0.6 else style.INK
        axis.text(j, i, f"{int(counts[i, j])}", ha="center", va="center", fontsize=style.SMALL, color=colour)
    every = range(0, classes, -(-classes // 20))
    axis.set(xlabel="predicted class", ylabel=f"true class ({seen} test samples)", xticks=every, yticks=every)
    if names:
        words = [names[label][:16] for label in every]
        axis.set_xticks(every, words, rotation=90)
        axis.set_yticks(every, words)
    figure.colorbar(image, ax=axis, shrink=0.7, label="share of the true class")
    return figure
