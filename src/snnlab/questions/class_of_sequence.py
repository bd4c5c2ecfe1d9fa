"""A class of the whole sequence, read on all of its steps: targets [B], scores [B, K]."""

from __future__ import annotations

from dataclasses import dataclass

from snnlab.questions.classes import OneClass


@dataclass(frozen=True)
class ClassOfSequence(OneClass):
    """Which of K classes is this?"""

    sentence = "a class of the whole sequence"
