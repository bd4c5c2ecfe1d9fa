"""Fully connected network whose hidden layers send their spikes back to themselves one step later."""

from __future__ import annotations

from torch import nn

from snnlab.layers.blocks import Blocks
from snnlab.models.mlp import MLP


class RecurrentMLP(MLP):
    """As MLP, every hidden layer recurrent, e.g. 784-400(R400)-10."""

    def neuron(self, blocks: Blocks, features: int) -> nn.Module:
        return blocks.recurrent(features)
