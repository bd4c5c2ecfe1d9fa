"""A hidden layer that is locally connected, and the readout that the method brings."""

from __future__ import annotations

import math

from torch import nn

from mine.weight import Windows
from snnlab.layers.blocks import Blocks
from snnlab.layers.network import Network
from snnlab.models.model import Model


class LocalNet(Model):
    """Args: window: inputs that each hidden unit reads."""

    def __init__(self, window: int = 5) -> None:
        self.window = window

    def __call__(self, blocks: Blocks, input_shape: tuple[int, ...], outputs: int) -> Network:
        inputs = math.prod(input_shape)
        weight = Windows(inputs, self.window)
        units = inputs - self.window + 1
        hidden = [("flatten", nn.Flatten()), ("weight1", weight), ("hidden1", blocks.neuron(units))]
        return Network([*hidden, *blocks.readout(units, outputs)])
