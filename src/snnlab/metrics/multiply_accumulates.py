"""Multiply-accumulates of each weight layer for one sample and one pass: what a layer with analog inputs costs."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from snnlab.layers.chain import Chain
from snnlab.layers.network import Network
from snnlab.weights.weight import Weight


def multiply_accumulates(network: Network, frame: Tensor) -> dict[str, float]:
    """Return, by the names of ``Chain.weights`` and in order, the synapses of every weight, counted where it is used.

    Padding costs nothing: a convolution counts the weights that meet a real input.

    Args:
        frame: input of one step [B, ...]; its values do not matter.
    """
    counts: dict[str, Tensor] = {}

    def hook_of(name: str, weight: Weight) -> Any:
        def hook(_layer: nn.Module, inputs: Any, _output: Tensor) -> None:
            one = inputs[0][:1]
            counts[name] = weight.fan_out(one).expand_as(one).sum(dtype=torch.float64)

        return hook

    weights = Chain(network).weights()
    hooks = [weight.layer.register_forward_hook(hook_of(name, weight)) for name, weight in weights.items()]
    try:
        with torch.no_grad():
            network(frame[None, :1])
    finally:
        for handle in hooks:
            handle.remove()
    read = torch.stack(list(counts.values())).tolist() if counts else []  # at once: a GPU waits with every read
    return dict(zip(counts, read, strict=True))
