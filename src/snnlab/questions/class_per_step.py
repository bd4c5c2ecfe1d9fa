"""A class at every step of the sequence: targets [T, B], scores [T, B, K]."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from snnlab import style
from snnlab.questions.classes import Classes
from snnlab.questions.question import Answered


@dataclass(frozen=True)
class ClassPerStep(Classes):
    """Which of K classes is it now?"""

    sentence = "a class at every step"
    per_step = True

    def scores(self, outputs: Tensor) -> Tensor:
        """The readout itself: every step has scores of its own."""
        return outputs

    def scores_over_time(self, outputs: Tensor) -> Tensor:
        return outputs

    def verdict(self, targets: Tensor, answers: Tensor, sample: int) -> str:
        return f"right at {(targets == answers)[:, sample].float().mean():.0%} of the steps"

    def pictures(self, answered: Answered, outputs: int) -> dict[str, Callable[[], Any]]:
        return {"answers_over_time": lambda: over_time_figure(*next(answered()))}


def over_time_figure(answers: Tensor, targets: Tensor, most: int = 4) -> Any:
    """The class that is right and the one that was named at every step [T, B], first samples of the test split."""
    import matplotlib.pyplot as plt

    samples = min(targets.shape[1], most)
    figure, axes = plt.subplots(samples, 1, figsize=(7, 1.4 * samples + 0.6), sharex=True, squeeze=False)
    for sample, axis in enumerate(axes[:, 0]):
        right, named = targets[:, sample], answers[:, sample]
        wrong = (right != named).nonzero()[:, 0]
        axis.plot(right, drawstyle="steps-mid", color=style.INK, linewidth=1, label="right class")
        axis.plot(named, ".", markersize=4, color=style.RIGHT, label="named, right")
        axis.plot(wrong, named[wrong], "x", markersize=4, color=style.WRONG, label="named, wrong")
        share = 1 - len(wrong) / len(right)
        axis.set(ylabel="class", title=f"test sample {sample}: right at {share:.0%} of the steps")
        style.whole_numbers(axis.xaxis)
        style.whole_numbers(axis.yaxis)
    axes[-1, 0].set_xlabel("time step")
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside lower left", ncols=3)
    return figure
