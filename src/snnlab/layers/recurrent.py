"""A neuron layer whose spikes return to it one step later through a weight.

current'[t] = current[t] + W_rec spikes[t-1]        (1) spikes[-1] = 0
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from snnlab.neurons.neuron import Neuron


class RecurrentState(NamedTuple):
    """v: the first field of the neuron's state; spikes [B, N] of the step before; neuron: the state itself."""

    v: Tensor
    spikes: Tensor
    neuron: Any


class Recurrent(Neuron):
    """Wrap ``neuron`` with recurrent weights ``weight``, a layer from N spikes to N currents.

    Shapes: currents [T, B, N] -> spikes [T, B, N].
    """

    def __init__(self, neuron: Neuron, weight: nn.Module) -> None:
        super().__init__()
        self.neuron, self.weight = neuron, weight

    def initial_state(self, current: Tensor) -> RecurrentState:
        state = self.neuron.initial_state(current)
        return RecurrentState(state[0], torch.zeros_like(current), state)

    def step(self, current: Tensor, state: RecurrentState) -> tuple[Tensor, RecurrentState]:
        current = current + self.weight(state.spikes)  # (1)
        spikes, inner = self.neuron.step(current, state.neuron)
        return spikes, RecurrentState(inner[0], spikes, inner)

    def unroll(self, currents: Tensor, state: Any = None) -> tuple[Tensor, Any]:
        state = self.initial_state(currents[0]) if state is None else state
        spikes, states = [], []
        for current in currents:
            output, state = self.step(current, state)
            spikes.append(output)
            states.append(state.neuron)
        inner = type(states[0])(*map(torch.stack, zip(*states, strict=True)))
        stacked = torch.stack(spikes)
        return stacked, RecurrentState(inner[0], stacked, inner)
