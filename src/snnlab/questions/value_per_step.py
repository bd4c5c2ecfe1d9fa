"""K real values to be named at every step of the sequence: targets and scores [T, B, K]."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor, nn

from snnlab import style
from snnlab.errors import InputError
from snnlab.questions.question import Answered, Question


@dataclass(frozen=True)
class ValuePerStep(Question):
    """What are these values now?"""

    sentence = "real values at every step"
    per_step = True
    unit: ClassVar[str] = "value"  # what the axis of the picture says

    def check(self, targets: Tensor, outputs: int) -> None:
        if not targets.is_floating_point() or targets.dim() != 3 or targets.shape[2] != outputs:
            raise InputError(
                f"targets {list(targets.shape)} of {targets.dtype}: {self.sentence} are real numbers [T, B, {outputs}]"
            )

    def verdict(self, targets: Tensor, answers: Tensor, sample: int) -> str:
        told = (f"{float(values[-1, sample, 0]):.3g}" for values in (targets, answers))
        return "at the end {}, answered {}".format(*told)

    def scores(self, outputs: Tensor) -> Tensor:
        """The readout itself: every step has values of its own."""
        return outputs

    def scores_over_time(self, outputs: Tensor) -> Tensor:
        return outputs

    def loss(self, scores: Tensor, targets: Tensor) -> Tensor:
        """Mean squared error."""
        return nn.functional.mse_loss(scores, targets)

    def pictures(self, answered: Answered, outputs: int) -> dict[str, Callable[[], Any]]:
        return {"answers_over_time": lambda: over_time_figure(*next(answered()), self.unit)}


def over_time_figure(answers: Tensor, targets: Tensor, unit: str = "value", most: int = 6) -> Any:
    """The values that are right and those that were named at every step [T, B, K], first samples of the test split."""
    import matplotlib.pyplot as plt

    samples = min(targets.shape[1], most)
    figure, axes = plt.subplots(1, samples, figsize=(1.7 * samples + 1, 2.8), sharey=True, squeeze=False)
    for sample, axis in enumerate(axes[0]):
        for k in range(targets.shape[2]):
            first = k == 0
            axis.plot(targets[:, sample, k], color=style.INK, linewidth=1, label="right value" if first else None)
            axis.plot(answers[:, sample, k], ".", markersize=2.5, color=f"C{k}", label="answer" if first else None)
        axis.set_title(f"sample {sample}")
        style.whole_numbers(axis.xaxis)
    axes[0, 0].set(xlabel="time step", ylabel=unit)
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside lower left", ncols=2)
    return figure
