"""K real values to be named at the end of the sequence: targets and scores [B, K]."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from snnlab import style
from snnlab.errors import InputError
from snnlab.questions.question import Answered, Question, check_answer_steps


@dataclass(frozen=True)
class ValueAtEnd(Question):
    """What are these values?

    Args:
        answer_steps: the last steps, on which the answer is read, at least 1; None reads all.

    Raises:
        ValueError: when answer_steps is below 1.
    """

    sentence = "real values at the end"
    answer_steps: int | None = None

    def __post_init__(self) -> None:
        check_answer_steps(type(self).__name__, self.answer_steps)

    def check(self, targets: Tensor, outputs: int) -> None:
        if not targets.is_floating_point() or targets.dim() != 2 or targets.shape[1] != outputs:
            raise InputError(
                f"targets {list(targets.shape)} of {targets.dtype}: {self.sentence} are real numbers [B, {outputs}]"
            )

    def caption(self, targets: Tensor, sample: int) -> str:
        return ", ".join(f"{value:.3g}" for value in targets[sample].tolist())

    def loss(self, scores: Tensor, targets: Tensor) -> Tensor:
        """Mean squared error."""
        return nn.functional.mse_loss(scores, targets)

    def pictures(self, answered: Answered, outputs: int) -> dict[str, Callable[[], Any]]:
        return {"answers": lambda: answers_figure(*next(answered()))}


def answers_figure(answers: Tensor, targets: Tensor) -> Any:
    """Answers [B, K] against targets [B, K], one colour for each of the K values."""
    import matplotlib.pyplot as plt

    picture, axis = plt.subplots(figsize=(4.4, 3.8))
    for k in range(targets.shape[1]):
        axis.plot(targets[:, k], answers[:, k], "o", markersize=2.5, label=f"value {k}" if k < 6 else None)
    ends = [float(targets.min()), float(targets.max())]
    axis.plot(ends, ends, color=style.INK, linewidth=0.8, linestyle="--", label="answer = right value")
    axis.set(xlabel="right value", ylabel=f"answer ({len(targets)} test samples)")
    axis.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0))
    return picture
