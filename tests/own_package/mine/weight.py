"""A locally connected line of units: each reads its own window of the inputs, with weights of its own.

y[m] = sum over j of W[m, j] x[m + j]       W [units, window], units = inputs - window + 1
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from snnlab.weights.weight import WeightLayer


class Windows(WeightLayer):
    """The equation is in the docstring of this file; x [B, inputs] -> y [B, units]. ValueError: too wide a window."""

    def __init__(self, inputs: int, window: int) -> None:
        super().__init__()
        if not 1 <= window <= inputs:
            raise ValueError(f"Windows: window = {window} must lie in 1 to {inputs}, the inputs; 5 is usual")
        self.window = window
        self.weight = nn.Parameter(torch.empty(inputs - window + 1, window).uniform_(-1, 1))
        self.bias = None

    def product(self, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        return (x.unfold(1, self.window, 1) * weight).sum(-1)
