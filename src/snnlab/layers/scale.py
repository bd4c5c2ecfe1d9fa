"""A constant factor, and on request a learned one: y = factor * gain * x."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Scale(nn.Module):
    """Multiply by ``factor``, and by one learned number that starts at ``gain`` (None: there is none).

    Shapes: x [B, ...] -> y [B, ...].
    """

    def __init__(self, factor: float, gain: float | None = None) -> None:
        super().__init__()
        self.factor = factor
        self.gain = None if gain is None else nn.Parameter(torch.tensor(float(gain)))

    def forward(self, x: Tensor) -> Tensor:
        return self.factor * x if self.gain is None else self.factor * self.gain * x

    def extra_repr(self) -> str:
        return f"{self.factor:.4g}" + ("" if self.gain is None else ", learned gain")
