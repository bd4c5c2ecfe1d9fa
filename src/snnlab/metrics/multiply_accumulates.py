"""Multiply-accumulates of each weight layer for one sample and one pass: what a layer with analog inputs costs."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from snnlab.layers.network import Network
from snnlab.metrics.synaptic_operations import fan_out


def multiply_accumulates(network: Network, frame: Tensor) -> dict[str, float]:
    """Return, by layer name and in order, the synapses of every Linear and Conv2d, each counted where it is used.

    Padding costs nothing: a convolution counts the weights that meet a real input.

    Args:
        frame: input of one step [B, ...]; its values do not matter.
    """
    counts: dict[str, float] = {}

    def hook_of(name: str) -> Any:
        def hook(layer: nn.Module, inputs: Any, _output: Tensor) -> None:
            one = inputs[0][:1]
            counts[name] = float(fan_out(layer, one).expand_as(one).sum(dtype=torch.float64))

        return hook

    layers = [(n.removeprefix("layers."), m) for n, m in network.named_modules()]
    hooks = [m.register_forward_hook(hook_of(n)) for n, m in layers if isinstance(m, nn.Linear | nn.Conv2d)]
    try:
        with torch.no_grad():
            network(frame[None, :1])
    finally:
        for handle in hooks:
            handle.remove()
    return counts
