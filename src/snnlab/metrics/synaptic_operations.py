"""Synaptic operations: each spike times the synapses it reaches.

Only layers fed with spikes count (``Network.fed_with_spikes``), those inside residual blocks and loops included. An
event count of 2 is two operations per synapse; a pooled spike (0.25) is one. A convolution's fan-out is exact, borders
and stride included.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.grad import conv2d_input
from torchmetrics import Metric

from snnlab.layers.network import Network
from snnlab.neurons.neuron import Neuron


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
    def watch(self, network: Network, spiking_input: bool = True, batch: int | None = None) -> Iterator[None]:
        """Count, while the context is open, the operations of every Linear and Conv2d that is fed with spikes.

        ``spiking_input`` tells whether the network's own input is spikes (or event counts) rather than analog.
        ``batch`` is the number of samples; None reads it off a whole sequence, and cannot where the network is stepped.
        """
        total = [torch.tensor(0.0, dtype=torch.float64)]
        samples = [batch or 0]

        def hook(layer: nn.Module, inputs: Any, _output: Tensor) -> None:
            spikes = inputs[0].detach()
            if id(layer) not in self.fan_outs:
                self.fan_outs[id(layer)] = fan_out(layer, spikes)
            operations = spikes.abs().ceil() * self.fan_outs[id(layer)]
            total[0] = total[0] + operations.sum(dtype=torch.float64).cpu()

        def count(_module: nn.Module, inputs: Any) -> None:
            samples[0] = inputs[0].shape[1]

        hooks = [network.register_forward_pre_hook(count)]
        fed_with_spikes, _ = network.fed_with_spikes(spiking_input)
        for name, layer in network.leaves().items():
            for part in layer.modules():
                if isinstance(part, nn.Linear | nn.Conv2d) and (fed_with_spikes[name] or isinstance(layer, Neuron)):
                    hooks.append(part.register_forward_hook(hook))
        try:
            yield
        finally:
            for handle in hooks:
                handle.remove()
        self.update(total[0].to(self.operations.device), samples[0])
