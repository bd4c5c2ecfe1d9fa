"""What a data set asks of each of its samples, as one object: its targets, how an answer is read, and how it is judged.

A question of the house is one file of this room. One of somebody's own is a subclass: of ``Question``, or of a question
of the house, whose methods then answer it too. Data sets name it (``DataSpec.question``), methods say which they answer
(``Method.answers``), and whoever wants to know something about it asks the object; nobody compares questions.

Readouts are [T, B, K]: K classes, or K real values.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from itertools import accumulate
from typing import Any, Literal

import torch
from torch import Tensor
from torchmetrics import Metric

from snnlab.errors import InputError

Monitor = tuple[str, Literal["min", "max"]]  # a validation figure, and which end of it is the better one
Answered = Callable[[], Iterator[tuple[Tensor, Tensor]]]  # answers and targets of the test split, on the CPU


class Question(ABC):
    """The contract; what is not overridden suits one target a sample, read at the end of the sequence."""

    sentence: str  # "data=x asks for <sentence>"
    monitor: Monitor = ("val/loss", "min")  # the checkpoint for the test is chosen by it
    has_classes = False  # whether the targets are numbers of classes, 0 to K - 1
    per_step = False  # whether there is a target at every step: targets and scores are [T, B, ...], else [B, ...]
    answer_steps: int | None = None  # the last steps of the readout, on which an answer is read; None: all of them

    def is_among(self, answered: tuple[type[Question], ...]) -> bool:
        """Whether who answers these kinds of questions answers this one: it is one of them, or a subclass of one."""
        return isinstance(self, answered)

    # targets ----------------------------------------------------------------------------------------------------------
    @abstractmethod
    def check(self, targets: Tensor, outputs: int) -> None:
        """Refuse targets of a batch whose shape or dtype is not that of this question with K = ``outputs``.

        Raises:
            InputError: naming the shape and the one that is needed.
        """

    def size(self, targets: Tensor) -> int:
        """Number of samples of a batch with these targets."""
        return targets.shape[1 if self.per_step else 0]

    def first(self, targets: Tensor, count: int) -> Tensor:
        """The targets of the first ``count`` samples."""
        return targets[:, :count] if self.per_step else targets[:count]

    def resized(self, targets: Tensor, steps: Tensor) -> Tensor:
        """The targets of a sequence that is made of the ``steps`` (numbers of steps [T']) of this one."""
        return targets[steps] if self.per_step else targets

    def caption(self, targets: Tensor, sample: int) -> str:
        """A few words about the target of a sample, to stand beside its picture."""
        return ""

    def verdict(self, targets: Tensor, answers: Tensor, sample: int) -> str:
        """The caption of a sample with what was answered to it."""
        told, said = self.caption(targets, sample), self.caption(answers, sample)
        return f"{told}, answered {said}" if said else told

    # reading ----------------------------------------------------------------------------------------------------------
    def scores(self, outputs: Tensor) -> Tensor:
        """Scores [B, K] of a readout [T, B, K]: its mean over the steps on which an answer is read."""
        return outputs[-(self.answer_steps or 0) :].mean(0)

    def scores_over_time(self, outputs: Tensor) -> Tensor:
        """The scores [T, B, K] that each step would give, were it the last."""
        read = self.answer_steps or len(outputs)
        sums = running_sum(outputs)
        sums[read:] = sums[read:] - sums[:-read]
        steps = torch.arange(1, len(outputs) + 1, device=outputs.device, dtype=outputs.dtype).clamp(max=read)
        return sums / steps.view(-1, *[1] * (outputs.dim() - 1))

    def answer(self, scores: Tensor) -> Tensor:
        """What scores [..., K] say, in the form of the targets: here the K values themselves."""
        return scores

    # judging ----------------------------------------------------------------------------------------------------------
    def loss(self, scores: Tensor, targets: Tensor) -> Tensor:
        """The usual loss, for methods that have none of their own.

        Raises:
            InputError: where the question has no usual one.
        """
        raise InputError(f"{type(self).__name__} has no usual loss; it is answered by methods that have a loss")

    def metrics(self, outputs: int) -> dict[str, Metric]:
        """What is reported beside the loss, as ``<split>/<name>``; each is updated with scores and targets."""
        return {}

    def pictures(self, answered: Answered, outputs: int) -> dict[str, Callable[[], Any]]:
        """What draws the pictures of the answers on the test split, by file name."""
        return {}


def check_answer_steps(name: str, steps: int | None) -> None:
    """Raise ValueError where an answer would be read on no step."""
    if steps is not None and steps < 1:
        raise ValueError(f"{name}: answer_steps = {steps} must be at least 1; None reads all steps")


def running_sum(values: Tensor) -> Tensor:
    """sums[t] = values[0] + ... + values[t], added in 64 bits: ``cumsum`` has no deterministic form on a GPU."""
    return torch.stack(list(accumulate(values.double()))).to(values.dtype)
