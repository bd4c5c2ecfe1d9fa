"""The weight of a fully connected layer of torch: y = x W' + b, W [outputs, inputs]."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from snnlab.weights.weight import Weight


class LinearWeight(Weight):
    """View of an ``nn.Linear``; x may be [..., inputs]."""

    views = nn.Linear
    dense = True

    def __init__(self, layer: nn.Module) -> None:
        self.layer = layer

    def product(self, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        return nn.functional.linear(x, weight, bias)

    def reach(self, inputs: Tensor, taps: Tensor | None = None) -> Tensor:
        return torch.tensor(float(self.outputs), device=inputs.device) if taps is None else taps.sum(0).float()

    def back(self, signal: Tensor, x: Tensor, weight: Tensor | None = None) -> Tensor:
        return signal @ (self.used if weight is None else weight)

    def outer(self, signal: Tensor, x: Tensor) -> Tensor:
        return signal.flatten(0, -2).T @ x.flatten(0, -2)

    def sum_of(self, signal: Tensor) -> Tensor:
        return signal.flatten(0, -2).sum(0)
