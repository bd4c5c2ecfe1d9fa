"""Synaptic operations: each spike times the synapses it reaches.

Only weights fed with spikes count (layers/chain.py), those inside residual blocks and loops included. An event count
of 2 is two operations per synapse; a pooled spike (0.25) is one, and so are a signed one (-1) and a value in [-1, 1]
sent at an event, which multiplies (operations.py). What sends values at every step sends no spikes. The fan-out of a
weight is exact at borders, and counts the synapses that exist: those that a mask or Deep Rewiring leaves out are none.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torchmetrics import Metric

from snnlab.layers.chain import Chain
from snnlab.layers.edges import Edge
from snnlab.layers.network import Network


def sent(spikes: Tensor) -> Tensor:
    """How many spikes each value stands for: 2 an event count of 2, 1 a pooled (0.25) or a signed (-1) one."""
    return spikes.abs().ceil()


class SynapticOperations(Metric):
    """Mean synaptic operations of one inference."""

    full_state_update = False
    operations: Tensor
    samples: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.add_state("operations", torch.tensor(0.0, dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("samples", torch.tensor(0.0, dtype=torch.float64), dist_reduce_fx="sum")

    def update(self, operations: Tensor, samples: int) -> None:
        self.operations = self.operations + operations
        self.samples = self.samples + samples

    def compute(self) -> Tensor:
        return self.operations / self.samples.clamp(min=1)

    @contextmanager
    def watch(self, network: Network, spiking_input: bool = True, batch: int | None = None) -> Iterator[None]:
        """Count, while the context is open, the operations of every weight that is fed with spikes.

        ``spiking_input`` tells whether the network's own input is spikes (or event counts) rather than analog.
        ``batch`` is the number of samples; None reads it off a whole sequence, and cannot where the network is stepped.
        """
        total = [torch.zeros((), dtype=torch.float64, device=self.operations.device)]
        samples = [batch or 0]
        fan_outs: dict[tuple[int, torch.Size], Tensor] = {}  # of this sequence: connections may move before the next

        def hook_of(edge: Edge) -> Any:
            def hook(layer: nn.Module, inputs: Any, _output: Tensor) -> None:
                spikes = inputs[0].detach()
                key = id(layer), spikes.shape[1:]
                if key not in fan_outs:
                    fan_outs[key] = edge.weight.fan_out(spikes)
                operations = sent(spikes) * fan_outs[key]
                total[0] = total[0] + operations.sum(dtype=torch.float64)

            return hook

        def count(_module: nn.Module, inputs: Any) -> None:
            samples[0] = inputs[0].shape[1]

        hooks = [network.register_forward_pre_hook(count)]
        for edge in Chain(network).edges(spiking_input):
            if edge.spikes:
                hooks.append(edge.weight.layer.register_forward_hook(hook_of(edge)))
        try:
            yield
        finally:
            for handle in hooks:
                handle.remove()
        self.update(total[0], samples[0])
