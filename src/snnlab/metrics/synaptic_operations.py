"""Synaptic operations: each spike times the synapses it reaches.

Only layers fed with spikes (0/1 inputs) count; a layer that sees analog values does multiply-accumulates instead.
A convolution's fan-out is exact, borders and stride included.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.grad import conv2d_input
from torchmetrics import Metric


def fan_out(layer: nn.Module, inputs: Tensor) -> Tensor:
    """Return how many synapses each input unit reaches, broadcastable to inputs [B, ...]."""
    if isinstance(layer, nn.Linear):
        return torch.tensor(float(layer.out_features), device=inputs.device)
    assert isinstance(layer, nn.Conv2d)
    with torch.no_grad():
        outputs = nn.functional.conv2d(inputs[:1], layer.weight, None, layer.stride, layer.padding)
        ones = torch.ones_like(layer.weight)
        return conv2d_input(inputs[:1].shape, ones, torch.ones_like(outputs), layer.stride, layer.padding)


class SynapticOperations(Metric):
    """Mean synaptic operations of one inference."""

    full_state_update = False
    operations: Tensor
    samples: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.add_state("operations", torch.tensor(0.0, dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("samples", torch.tensor(0.0, dtype=torch.float64), dist_reduce_fx="sum")
        self.fan_outs: dict[int, Tensor] = {}

    def update(self, operations: Tensor, samples: int) -> None:
        self.operations = self.operations + operations
        self.samples = self.samples + samples

    def compute(self) -> Tensor:
        return self.operations / self.samples.clamp(min=1)

    @contextmanager
    def watch(self, network: nn.Module) -> Iterator[None]:
        """Count, while the context is open, the operations of every Linear and Conv2d of ``network``."""
        total = [torch.tensor(0.0, dtype=torch.float64)]
        samples = [0]

        def hook(layer: nn.Module, inputs: Any, _output: Tensor) -> None:
            spikes = inputs[0].detach()
            if not bool(((spikes == 0) | (spikes == 1)).all()):
                return
            if id(layer) not in self.fan_outs:
                self.fan_outs[id(layer)] = fan_out(layer, spikes)
            total[0] = total[0] + (spikes * self.fan_outs[id(layer)]).sum(dtype=torch.float64).cpu()

        def count(_module: nn.Module, inputs: Any) -> None:
            samples[0] = inputs[0].shape[1]

        weights = [layer for layer in network.modules() if isinstance(layer, nn.Linear | nn.Conv2d)]
        hooks = [layer.register_forward_hook(hook) for layer in weights] + [network.register_forward_pre_hook(count)]
        try:
            yield
        finally:
            for handle in hooks:
                handle.remove()
        self.update(total[0].to(self.operations.device), samples[0])
