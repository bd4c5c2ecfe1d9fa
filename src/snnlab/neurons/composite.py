"""Composite neuron of stochastic spike-based backpropagation: a forward unit and a pair of gradient units.

    v[t] = low-pass of current                                  (1) neurons/low_pass.py
    spikes[t] ~ Bernoulli(rate(v[t])), rate(v) = clip(v, 0, 1)  (2) rate="relu"; rate="sigmoid": 1 / (1 + exp(-v))
    gate[t] = rate'(v[t]): 1 where 0 < v < 1                    (3) of the filtered drive, which flips rarely
    plus[t] ~ Bernoulli(clip(g / scale, 0, 1))                  (4) g[t] = gate[t] * low-pass of the error current
    minus[t] ~ Bernoulli(clip(-g / scale, 0, 1))                    one random number serves both streams

Beyond |g| = scale the clip of (4) biases the gradient; ``clipped`` tells where. Spikes carry no gradient for autograd.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from snnlab import ranks
from snnlab.neurons.low_pass import LowPass, LowPassState
from snnlab.neurons.neuron import Neuron

Rate = Literal["relu", "sigmoid"]

LEVELS = 2**16  # of the random numbers: a probability is rounded to a multiple of 1 / LEVELS


def uniform(like: Tensor) -> Tensor:
    """Independent integers, uniform on [-LEVELS / 2, LEVELS / 2), in shape [T, ...] and dtype of ``like``.

    Four come out of one 64-bit draw: a quarter of the time of ``torch.rand``, which stochastic neurons live on.
    Each step starts a draw of its own, so that T steps at once get the numbers of T steps one by one.
    """
    size = like[0].numel()
    draws = torch.empty(len(like), -(-size // 4), dtype=torch.int64, device=like.device).random_(-(2**63), None)
    return draws.view(torch.int16)[:, :size].to(like.dtype).view(like.shape)


def bernoulli(probability: Tensor, u: Tensor) -> Tensor:
    """1 with ``probability`` (clipped to [0, 1]), else 0, for random numbers of ``uniform``; dtype of probability."""
    return torch.gt((probability.detach() * LEVELS).sub_((LEVELS + 1) / 2), u, out=torch.empty_like(u))


class CompositeNeuron(Neuron):
    """Stochastic neuron with a bounded rate; the equations are in the docstring of this file.

    Args:
        low_pass: filter of the drive.
        rate: relu (bounded at 1) or sigmoid.
        scale: error drive s at which a gradient unit fires at every step, > 0.

    Shapes: currents [T, B, ...] -> spikes [T, B, ...]; state.v [B, ...].

    Raises:
        ValueError: when rate is unknown or scale is not positive.

    Source: a reconstruction from the abstract of Biswas et al. 2023, doi 10.1088/2634-4386/acf1c5.
    """

    by_step = False
    draws = True

    def __init__(self, low_pass: LowPass, rate: Rate = "relu", scale: float = 1.0) -> None:
        super().__init__()
        if rate not in ("relu", "sigmoid"):
            raise ValueError(f"CompositeNeuron: rate = {rate!r} must be relu or sigmoid")
        if not scale > 0:
            raise ValueError(f"CompositeNeuron: scale = {scale} must be positive; 1.0 clips almost nothing")
        self.low_pass, self.rate, self.scale = low_pass, rate, scale

    # the forward unit -------------------------------------------------------------------------------------------------
    def initial_state(self, current: Tensor) -> LowPassState:
        return self.low_pass.initial_state(current)

    def step(self, current: Tensor, state: LowPassState) -> tuple[Tensor, LowPassState]:
        v, state = self.low_pass.step(current, state)  # (1)
        return self.fire(v.unsqueeze(0))[0], state

    def fire(self, v: Tensor) -> Tensor:
        """(2): spikes [T, B, ...] of filtered drives v [T, B, ...]."""
        return bernoulli(v if self.rate == "relu" else torch.sigmoid(v), ranks.of_whole(uniform, v, 1))

    def forward(self, currents: Tensor) -> Tensor:
        return self.fire(self.low_pass(currents))

    # the gradient units -----------------------------------------------------------------------------------------------
    def gate(self, v: Tensor) -> Tensor:
        """(3), in the dtype of v."""
        v = v.detach()
        if self.rate == "sigmoid":
            p = torch.sigmoid(v)
            return p * (1 - p)
        return torch.gt(v, 0, out=torch.empty_like(v)) * torch.lt(v, 1, out=torch.empty_like(v))

    def gradient_streams(self, g: Tensor) -> tuple[Tensor, Tensor]:
        """(4): the positive and the negative spikes [T, B, ...] of gated error drives g [T, B, ...]."""
        p, u = g / self.scale, ranks.of_whole(uniform, g, 1)
        return bernoulli(p, u), bernoulli(-p, u)

    def clipped(self, g: Tensor) -> Tensor:
        """Where the drive g leaves what a stream can carry."""
        return g.abs() > self.scale

    def extra_repr(self) -> str:
        return f"rate={self.rate}, scale={self.scale}"
