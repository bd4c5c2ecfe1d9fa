"""A class of the whole sequence whose classes have names, and shares of the samples that may differ much."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain, count

import torch
from torch import Tensor
from torchmetrics import Metric

from snnlab.questions.class_of_sequence import ClassOfSequence

MOST_NAMED = 50  # classes that are reported one by one


@dataclass(frozen=True)
class NamedClasses(ClassOfSequence):
    """Which of these classes is this?

    Beside the accuracy is reported that of each class, and their mean, which a large class does not decide.

    Args:
        names: of the classes 0 to K - 1.
    """

    names: tuple[str, ...] = ()

    def caption(self, targets: Tensor, sample: int) -> str:
        return self.names[int(targets[sample])]

    def metrics(self, outputs: int) -> dict[str, Metric]:
        balanced = BalancedAccuracy(outputs)
        found: dict[str, Metric] = {**super().metrics(outputs), "balanced_accuracy": balanced}
        if outputs <= MOST_NAMED:
            for label, key in enumerate(keys(self.names)):
                found[f"class_accuracy/{key}"] = ClassAccuracyOf(balanced, label)
        return found


def keys(names: Sequence[str]) -> list[str]:
    """What each class is called in names of figures: with _ for dots and slashes, numbered where another is so called.

    A name that needs no change keeps it: a.b, a_b become a_b_2, a_b.
    """
    plain = [name.replace(".", "_").replace("/", "_") for name in names]
    taken = {name for name, key in zip(names, plain, strict=True) if name == key}
    found = []
    for name, key in zip(names, plain, strict=True):
        if name != key:
            free = chain([key], (f"{key}_{number}" for number in count(2)))
            key = next(choice for choice in free if choice not in taken)
            taken.add(key)
        found.append(key)
    return found


class BalancedAccuracy(Metric):
    """Mean over the classes seen of the share of their samples that are named right.

    Args:
        classes: K.
    """

    full_state_update = False
    classes: Tensor  # 0 to K - 1, [K]
    right: Tensor  # samples of each class that are named right, [K]
    seen: Tensor  # samples of each class, [K]

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.register_buffer("classes", torch.arange(classes), persistent=False)
        for name in ("right", "seen"):
            self.add_state(name, torch.zeros(classes), dist_reduce_fx="sum")

    def update(self, scores: Tensor, targets: Tensor) -> None:
        """Count scores [B, K] and targets [B]."""
        of_class = targets.unsqueeze(-1) == self.classes  # [B, K]
        self.seen += of_class.sum(0)
        self.right += (of_class & (scores.argmax(-1) == targets).unsqueeze(-1)).sum(0)

    def shares(self) -> Tensor:
        """Return the share of each class [K], 0 where no such sample was seen."""
        return self.right / self.seen.clamp(min=1)

    def compute(self) -> Tensor:
        return self.shares().sum() / (self.seen > 0).sum().clamp(min=1)


class ClassAccuracyOf(Metric):
    """Share of the samples of one class that are named right, as ``counted`` has counted them; 0 where none was seen.

    Args:
        counted: is updated with the same batches.
        label: 0 to K - 1.
    """

    full_state_update = False

    def __init__(self, counted: BalancedAccuracy, label: int) -> None:
        super().__init__()
        self.counted, self.label = counted, label

    def update(self, scores: Tensor, targets: Tensor) -> None:
        """Count nothing: ``counted`` does it once for all classes."""

    def compute(self) -> Tensor:
        return self.counted.shares()[self.label]
