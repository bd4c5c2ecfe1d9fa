"""A pool and the neurons behind it as one spiking layer, so that pooled activity is spikes again."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from snnlab.layers.over_time import over_time
from snnlab.neurons.neuron import Neuron


class PoolingNeuron(Neuron):
    """``neuron`` driven by the output of ``pool``, a layer without memory.

    Shapes: spikes [T, B, C, H, W] -> spikes [T, B, C, H', W'], as the pool makes them.
    """

    def __init__(self, pool: nn.Module, neuron: Neuron) -> None:
        super().__init__()
        self.pool, self.neuron = pool, neuron
        self.sends = neuron.sends

    def events(self, outputs: Tensor) -> Tensor:
        return self.neuron.events(outputs)

    def initial_state(self, current: Tensor) -> Any:
        return self.neuron.initial_state(self.pool(current))

    def step(self, current: Tensor, state: Any) -> tuple[Tensor, Any]:
        return self.neuron.step(self.pool(current), state)

    def unroll(self, currents: Tensor, state: Any = None) -> tuple[Tensor, Any]:
        return self.neuron.unroll(over_time(self.pool, currents), state)

    def forward(self, currents: Tensor) -> Tensor:
        spikes: Tensor = self.neuron(over_time(self.pool, currents))
        return spikes
