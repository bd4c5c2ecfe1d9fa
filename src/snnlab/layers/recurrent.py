"""A neuron layer whose spikes return to it one step later through a weight.

current'[t] = current[t] + W_rec spikes[t-1]        (1) spikes[-1] = 0
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from snnlab.neurons.neuron import Neuron, Temporal


class RecurrentState(NamedTuple):
    """v: the first field of the neuron's state; spikes [B, N] of the step before; neuron, weight: their states."""

    v: Tensor
    spikes: Tensor
    neuron: Any
    weight: Any = None  # of a weight that is Temporal, such as Traced


class Recurrent(Neuron):
    """Wrap ``neuron`` with recurrent weights ``weight``, a layer from N spikes to N currents.

    Shapes: currents [T, B, N] -> spikes [T, B, N].
    """

    def __init__(self, neuron: Neuron, weight: nn.Module) -> None:
        super().__init__()
        self.neuron, self.weight = neuron, weight
        self.sends = neuron.sends

    def events(self, outputs: Tensor) -> Tensor:
        return self.neuron.events(outputs)

    def initial_state(self, current: Tensor) -> RecurrentState:
        state, silence = self.neuron.initial_state(current), torch.zeros_like(current)
        weight = self.weight.initial_state(silence) if isinstance(self.weight, Temporal) else None
        return RecurrentState(state[0], silence, state, weight)

    def step(self, current: Tensor, state: RecurrentState) -> tuple[Tensor, RecurrentState]:
        if isinstance(self.weight, Temporal):
            returned, weight = self.weight.step(state.spikes, state.weight)
        else:
            returned, weight = self.weight(state.spikes), None
        spikes, inner = self.neuron.step(current + returned, state.neuron)  # (1)
        return spikes, RecurrentState(inner[0], spikes, inner, weight)

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
