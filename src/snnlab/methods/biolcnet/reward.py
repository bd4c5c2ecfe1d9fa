"""What a response is worth: R = +reward where it is right, -punishment where it is wrong.

    constant          both stay as they are                                                              (1)
    prediction error  surprise = accumulated - predicted
                      reward -= rate * surprise;  punishment += rate * surprise                          (2)
                      predicted += (accumulated - predicted) / window                                    (3)

    conditioning      constant; right is one response, whatever is shown, and another one after each switch

``accumulated`` is R summed over the steps of an episode. (2) is kept within 1/50 and 50 times the start.

Source: Ghaemi et al. 2022, authors' code.
"""

from __future__ import annotations

import itertools

import torch
from torch import Tensor, nn

from snnlab.errors import InputError

LARGEST = 50.0  # the sizes stay within this factor of their start


class Reward(nn.Module):
    """A reward of constant size; ``sizes`` holds reward, punishment and the predicted sum, stored with the weights.

    Args:
        reward, punishment: > 0.

    Raises:
        InputError: when a number leaves its range.
    """

    sizes: Tensor
    switches: list[int]  # episodes at which another response becomes the right one

    def __init__(self, reward: float = 1.0, punishment: float = 1.0) -> None:
        super().__init__()
        for name, value in (("reward", reward), ("punishment", punishment)):
            if not value > 0:
                raise InputError(f"method.reward.{name} = {value} must be positive; 1 is the authors'")
        self.start = (float(reward), float(punishment))
        self.rate, self.window, self.switches = 0.0, 1.0, []
        self.register_buffer("sizes", torch.tensor([*self.start, 0.0], dtype=torch.float64))

    def check(self, classes: int) -> None:
        """Raise InputError where it does not suit so many classes."""

    def right(self, labels: Tensor, episode: int) -> Tensor:
        """Return the responses that are right for samples with these labels, the first of them shown in ``episode``."""
        return labels

    def given(self, right: bool) -> float:
        """Return R of a response."""
        return float(self.sizes[0]) if right else -float(self.sizes[1])

    def update(self, accumulated: float) -> None:
        """Learn from an episode: (2), (3)."""
        if not self.rate:
            return
        surprise = accumulated - float(self.sizes[2])
        for place, sign in ((0, -1.0), (1, 1.0)):
            size = float(self.sizes[place]) + sign * self.rate * surprise
            self.sizes[place] = min(max(size, self.start[place] / LARGEST), self.start[place] * LARGEST)
        self.sizes[2] += surprise / self.window


class Constant(Reward):
    """(1); arguments as of Reward."""


class Conditioning(Reward):
    """A constant reward for one response, whatever is shown, and for another one after each switch.

    Args:
        responses: the class that is rewarded first, and after each switch.
        switches: numbers of the rewarded episodes at which the next one is, rising; one less than ``responses``.
        reward, punishment: as of Reward.

    Raises:
        InputError: when a number leaves its range.
    """

    def __init__(self, responses: list[int], switches: list[int], reward: float = 1.0, punishment: float = 1.0) -> None:
        super().__init__(reward, punishment)
        if len(responses) != len(switches) + 1 or min(responses) < 0:
            raise InputError(
                f"method.reward.responses = {list(responses)} must be classes, one more than "
                f"switches = {list(switches)}"
            )
        if any(second <= first for first, second in itertools.pairwise([0, *switches])):
            raise InputError(f"method.reward.switches = {list(switches)} must rise from 1 on; [200] is the authors'")
        self.responses, self.switches = list(responses), list(switches)

    def check(self, classes: int) -> None:
        if max(self.responses) >= classes:
            raise InputError(
                f"method.reward.responses = {self.responses} must lie in 0 to {classes - 1}, the classes of the data"
            )

    def right(self, labels: Tensor, episode: int) -> Tensor:
        phases = [sum(number >= switch for switch in self.switches) for number in range(episode, episode + len(labels))]
        return torch.tensor([self.responses[phase] for phase in phases], dtype=labels.dtype, device=labels.device)


class PredictionError(Reward):
    """A reward that shrinks where more of it comes than was predicted, while the punishment grows.

    Args:
        reward, punishment: at the start, > 0.
        rate: of (2), > 0.
        window: episodes that the prediction looks back on, >= 1.

    Raises:
        InputError: when a number leaves its range.
    """

    def __init__(
        self, reward: float = 1.0, punishment: float = 1.0, rate: float = 0.0005, window: float = 10.0
    ) -> None:
        super().__init__(reward, punishment)
        if not rate > 0:
            raise InputError(f"method.reward.rate = {rate} must be positive; 0.0005 is the authors'")
        if not window >= 1:
            raise InputError(f"method.reward.window = {window} must be at least 1 episode; 10 is the authors'")
        self.rate, self.window = rate, window
