"""Softmax by lateral inhibition: at every step one unit of the layer fires.

    z[t] = low-pass of current                                              (1) neurons/low_pass.py
    winner[t] ~ Categorical(softmax(z[t])), spikes[t] its one-hot code      (2)
    plus[t] = spikes AND NOT teacher, minus[t] = teacher AND NOT spikes     (3) both silent where the winner is right

(2) by the inverse of the cumulated probabilities (draw="categorical"), or as the argmax of z + Gumbel noise
(draw="gumbel"), which has the same law. E[plus - minus] = softmax(z) - teacher, the error of softmax cross-entropy.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from snnlab import ranks
from snnlab.neurons.low_pass import LowPass, LowPassState
from snnlab.neurons.neuron import Neuron

Draw = Literal["categorical", "gumbel"]


class WinnerTakeAll(Neuron):
    """A layer of K units of which exactly one fires per step; the equations are in the docstring of this file.

    Args:
        low_pass: filter of the drive.
        draw: how the winner is drawn.

    Shapes: currents [T, B, K] -> spikes [T, B, K], one-hot; state.v [B, K] is z.

    Raises:
        ValueError: when draw is unknown.
    """

    by_step = False
    draws = True

    def __init__(self, low_pass: LowPass, draw: Draw = "categorical") -> None:
        super().__init__()
        if draw not in ("categorical", "gumbel"):
            raise ValueError(f"WinnerTakeAll: draw = {draw!r} must be categorical or gumbel")
        self.low_pass, self.draw = low_pass, draw

    def initial_state(self, current: Tensor) -> LowPassState:
        return self.low_pass.initial_state(current)

    def step(self, current: Tensor, state: LowPassState) -> tuple[Tensor, LowPassState]:
        z, state = self.low_pass.step(current, state)  # (1)
        return self.compete(z), state

    def compete(self, z: Tensor) -> Tensor:
        """(2): one-hot winners of drives z [..., K]."""
        classes = z.shape[-1]
        if self.draw == "gumbel":
            winner = (z - torch.log(-torch.log(ranks.of_whole(torch.rand_like, z, -2)))).argmax(-1)
        else:
            upto = torch.softmax(z, -1) @ torch.ones(classes, classes, dtype=z.dtype, device=z.device).triu()
            winner = (upto < ranks.of_whole(torch.rand_like, z[..., :1], -2)).sum(-1).clamp(max=classes - 1)
        return nn.functional.one_hot(winner, classes).to(z.dtype)

    def forward(self, currents: Tensor) -> Tensor:
        return self.compete(self.low_pass(currents))

    def error_streams(self, spikes: Tensor, teacher: Tensor) -> tuple[Tensor, Tensor]:
        """(3): the positive and the negative error spikes [T, B, K] for teacher spikes [B, K] that last all steps."""
        return spikes * (1 - teacher), teacher * (1 - spikes)

    def extra_repr(self) -> str:
        return f"draw={self.draw}"
