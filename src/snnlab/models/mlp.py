"""Fully connected network: input - hidden ... - outputs, e.g. 784-800-10."""

from __future__ import annotations

import math

from torch import nn

from snnlab.layers.blocks import Blocks
from snnlab.layers.network import Network
from snnlab.models.model import Model


class MLP(Model):
    """Topology of a fully connected network.

    Args:
        hidden: units of each hidden layer, in order; [] connects the input to the readout.
        dropout: probability of a unit to be dropped after each hidden layer, in [0, 1).

    Raises:
        ValueError: when a layer has no units, or dropout leaves its range.
    """

    def __init__(self, hidden: list[int], dropout: float = 0.0) -> None:
        check_units("MLP", hidden)
        if not 0 <= dropout < 1:  # without hidden layers nobody else would look at it
            raise ValueError(f"MLP: dropout = {dropout} must lie in [0, 1); 0.2 is usual")
        self.hidden, self.dropout = list(hidden), dropout

    def neuron(self, blocks: Blocks, features: int) -> nn.Module:
        return blocks.neuron(features)

    def __call__(self, blocks: Blocks, input_shape: tuple[int, ...], outputs: int) -> Network:
        inputs = math.prod(input_shape)
        layers: list[tuple[str, nn.Module]] = [("flatten", nn.Flatten())]
        for i, units in enumerate(self.hidden, start=1):
            currents = blocks.currents(units)
            layers += [
                (f"weight{i}", blocks.linear(inputs, currents)),
                (f"norm{i}", blocks.norm(currents)),
                (f"hidden{i}", self.neuron(blocks, units)),
            ]
            if self.dropout:
                layers.append((f"dropout{i}", blocks.dropout(self.dropout)))
            inputs = units
        return Network(layers + blocks.readout(inputs, outputs))


def check_units(name: str, hidden: list[int]) -> None:
    """Raise ValueError unless every layer has at least one unit."""
    for units in hidden:
        if units < 1:
            raise ValueError(f"{name}: hidden = {hidden} needs at least 1 unit in every layer; [800] is usual")
