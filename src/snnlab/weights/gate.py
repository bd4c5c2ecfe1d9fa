"""The weight of a liquid neuron's gate: y = M [a, b], M [N, 2 N], of two tensors [B, N, ...] put together.

No rule moves it as a weight and no initialiser sees it; it is what counts multiplications that looks at it.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from snnlab.neurons.ltc import Gate
from snnlab.weights.weight import Weight


class GateWeight(Weight):
    """View of a ``Gate``; x [B, 2 N, ...]."""

    def __init__(self, layer: Gate) -> None:
        self.layer: nn.Module = layer

    def product(self, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        y = torch.einsum("oi,bi...->bo...", weight, x)
        return y if bias is None else y + bias.view(-1, *[1] * (x.dim() - 2))


def gates(module: nn.Module) -> dict[str, Weight]:
    """Those of all gates inside ``module``, by their paths."""
    return {name: GateWeight(part) for name, part in module.named_modules() if isinstance(part, Gate)}
