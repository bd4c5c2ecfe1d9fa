"""A class to be named at the end of the sequence, when what decides it may lie far back: targets [B], scores [B, K]."""

from __future__ import annotations

from dataclasses import dataclass

from snnlab.questions.classes import OneClass
from snnlab.questions.question import check_answer_steps


@dataclass(frozen=True)
class ClassAtEnd(OneClass):
    """Which of K classes was it?

    Args:
        answer_steps: the last steps, on which the answer is read, at least 1; None reads all.

    Raises:
        ValueError: when answer_steps is below 1.
    """

    sentence = "a class at the end"
    answer_steps: int | None = None

    def __post_init__(self) -> None:
        check_answer_steps(type(self).__name__, self.answer_steps)
