"""A class at every step of the sequence: targets [T, B], scores [T, B, K]."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from snnlab.questions.classes import Classes


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
