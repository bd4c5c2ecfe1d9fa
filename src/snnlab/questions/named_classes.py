"""A class of the whole sequence whose classes have names, and shares of the samples that may differ much."""

from __future__ import annotations

from dataclasses import dataclass

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
        found: dict[str, Metric] = {**super().metrics(outputs), "balanced_accuracy": ClassesRight(outputs, None)}
        if outputs <= MOST_NAMED:
            for label, name in enumerate(self.names):  # a part of the house may not be called by a dot or a slash
                found[f"class_accuracy/{name.replace('.', '_').replace('/', '_')}"] = ClassesRight(outputs, label)
        return found


class ClassesRight(Metric):
    """Share of the samples of one class that are named right; for ``label`` None the mean of it over classes seen.

    Args:
        classes: K.
        label: 0 to K - 1.
    """

    full_state_update = False
    which: Tensor  # the classes that are counted, [M]: all, or one
    right: Tensor
    seen: Tensor

    def __init__(self, classes: int, label: int | None) -> None:
        super().__init__()
        which = torch.arange(classes) if label is None else torch.tensor([label])
        self.register_buffer("which", which, persistent=False)
        for name in ("right", "seen"):
            self.add_state(name, torch.zeros(len(which)), dist_reduce_fx="sum")

    def update(self, scores: Tensor, targets: Tensor) -> None:
        """Count scores [B, K] and targets [B]."""
        of_class = targets.unsqueeze(-1) == self.which  # [B, M]
        self.seen += of_class.sum(0)
        self.right += (of_class & (scores.argmax(-1) == targets).unsqueeze(-1)).sum(0)

    def compute(self) -> Tensor:
        """Return the share, 0 where no such sample was seen."""
        shares = self.right / self.seen.clamp(min=1)
        return shares.sum() / (self.seen > 0).sum().clamp(min=1)
