"""A neuron that answers one wave of input with one spike, whose amplitude stands for how early it is.

    v = I + C - theta                   (1) I input current, C constant input, theta threshold, of each neuron
    x = min(max(v, 0), most)            (2) no spike where v <= 0; early is large; most < 1: not yet the next step

Nothing is left for the next step. What it sends is a value at an event, v > 0.

Source: author-side code of Stratton et al. 2022 (arXiv:2208.01204), src/blitnet_open.py of QVPR/VPRTempo.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from snnlab.neurons.neuron import Neuron, Sends


class AmplitudeState(NamedTuple):
    """v [B, ...]: (1) of the step."""

    v: Tensor


class Amplitude(Neuron):
    """The equations are in the docstring of this file.

    Args:
        threshold, constant: theta, not negative, and C, of each neuron [...].
        most: largest amplitude, in (0, 1].

    Shapes: currents [T, B, ...] -> amplitudes [T, B, ...] in [0, most].

    Raises:
        ValueError: when an argument leaves its range.
    """

    sends: Sends = "values at events"
    threshold: Tensor
    constant: Tensor

    def __init__(self, threshold: Tensor, constant: Tensor, most: float = 0.9) -> None:
        super().__init__()
        if not 0 < most <= 1:
            raise ValueError(f"Amplitude: most = {most} must lie in (0, 1]; 0.9 is usual")
        if bool((threshold < 0).any()):
            raise ValueError(
                f"Amplitude: threshold {threshold.min().item()} must not be negative; 0 fires at any input"
            )
        self.most = most
        self.register_buffer("threshold", threshold)
        self.register_buffer("constant", constant)

    def initial_state(self, current: Tensor) -> AmplitudeState:
        return AmplitudeState(v=torch.zeros_like(current))

    def potential(self, current: Tensor) -> Tensor:
        """v of (1)."""
        return current + self.constant - self.threshold

    def step(self, current: Tensor, state: AmplitudeState) -> tuple[Tensor, AmplitudeState]:
        v = self.potential(current)  # (1)
        return v.clamp(0, self.most), AmplitudeState(v=v)  # (2)

    def events(self, outputs: Tensor) -> Tensor:
        return (outputs.detach() > 0).to(outputs)

    def extra_repr(self) -> str:
        return f"{list(self.threshold.shape)}, most={self.most}"
