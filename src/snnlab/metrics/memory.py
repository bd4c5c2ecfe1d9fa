"""Memory of a network where it runs, in bytes: weights, states and spikes."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn
from torchmetrics import Metric

from snnlab.layers.chain import Chain
from snnlab.layers.network import Network
from snnlab.metrics.sizes import Sizes
from snnlab.weights.weight import Weight

Bits = Callable[[str], float | None]  # of a weight or of the states of a layer, by name; None: as they are stored here


def as_stored(_name: str) -> float | None:
    """The bits of the tensors here, 32 unless trainer.precision says otherwise."""
    return None


class Memory(Metric):
    """What has to be held for one sample at a time.

    weights   every weight and bias at the bits of the weight, one that is 0 or masked too; all other parameters and
              buffers (norms, learned thresholds) as they are here; not what a constraint stores beside a weight
    states    the numbers that neurons and readouts keep from one step to the next, at the bits of the layer
    spikes    1 bit for each neuron that fires: the spikes of one step

    Args:
        weight_bits, state_bits: bits of a number, by the name of the weight, or of the layer of neurons.
    """

    full_state_update = False
    weights: Tensor
    states: Tensor
    spikes: Tensor

    def __init__(self, weight_bits: Bits = as_stored, state_bits: Bits = as_stored) -> None:
        super().__init__()
        self.weight_bits, self.state_bits = weight_bits, state_bits
        self.has_states = False
        for name in ("weights", "states", "spikes"):
            self.add_state(name, torch.tensor(0.0, dtype=torch.float64), dist_reduce_fx="max")

    def update(self, network: Network, sizes: Sizes | None = None, beside: Mapping[str, Weight] | None = None) -> None:
        """Look at a network, at the sizes of its states if it has any, and at weights beside it; the latest counts."""
        bits, of_weights = 0.0, set[nn.Module]()
        self.has_states = sizes is not None
        for name, weight in (Chain(network).weights() | dict(beside or {})).items():
            of_weights.update(weight.layer.modules())
            for values in filter(None, (weight.values, weight.bias_values)):
                given = self.weight_bits(name)
                bits += values.used.numel() * (8 * values.used.element_size() if given is None else given)
        counted = {id(tensor) for layer in of_weights for tensor in (*layer.parameters(), *layer.buffers())}
        own = {id(tensor): tensor for tensor in (*network.parameters(), *network.buffers())}
        different = {name: tensor for name, tensor in own.items() if name not in counted}
        held = sum(tensor.numel() * tensor.element_size() for tensor in different.values())
        self.weights = torch.full_like(self.weights, math.ceil(bits / 8) + held)
        if sizes is not None:
            states = sum(
                sizes.state_bytes[name] if (given := self.state_bits(name)) is None else count * given / 8
                for name, count in sizes.states.items()
            )
            self.states = torch.full_like(self.states, math.ceil(states))
            self.spikes = torch.full_like(self.spikes, math.ceil(sum(sizes.spiking.values()) / 8))

    def compute(self) -> dict[str, Tensor]:
        states = {"states": self.states, "spikes": self.spikes} if self.has_states else {}
        return {"weights": self.weights, **states}
