"""What the methods of exact spike times offer a model: weights without bias in front of neurons that have no step."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NoReturn

from torch import Tensor, nn

from snnlab.errors import InputError
from snnlab.layers.blocks import Blocks
from snnlab.layers.recurrent import Recurrent
from snnlab.layers.spike_time_network import ExactNeuron, ExactOutput

Draw = Callable[[Tensor], Any]  # fills a weight with its first values


def uniform(bounds: tuple[float, float]) -> Draw:
    return partial(nn.init.uniform_, a=bounds[0], b=bounds[1])


def normal(mean: float, std: float) -> Draw:
    return partial(nn.init.normal_, mean=mean, std=std)


class SpikeTimeBlocks(Blocks):
    """Fully connected layers of exact neurons; each may have a threshold and a buffer of its own.

    Args:
        name: of the method, for what it refuses.
        hidden: makes the neurons of the i-th hidden layer, from 0.
        readout: the last layer, neurons or units that never fire.
        weights, readout_weights: draw the first values.
        recurrent_weights: the same of weights through which spikes return to their layer; None refuses them.
    """

    def __init__(
        self,
        name: str,
        hidden: Callable[[int], ExactNeuron],
        readout: ExactNeuron | ExactOutput,
        weights: Draw,
        readout_weights: Draw,
        recurrent_weights: Draw | None = None,
    ) -> None:
        self.name, self.hidden, self.layers = name, hidden, 0
        self.draw, self.draw_readout, self.draw_recurrent = weights, readout_weights, recurrent_weights
        super().__init__(self.next_hidden, lambda: readout, bias=False)

    def next_hidden(self) -> ExactNeuron:
        self.layers += 1
        return self.hidden(self.layers - 1)

    def linear(self, inputs: int, outputs: int) -> nn.Module:
        layer = super().linear(inputs, outputs)
        self.draw(layer.get_parameter("weight"))
        return layer

    def readout(self, inputs: int, outputs: int) -> list[tuple[str, nn.Module]]:
        layers = super().readout(inputs, outputs)
        self.draw_readout(layers[0][1].get_parameter("weight"))
        return layers

    def recurrent(self, features: int) -> nn.Module:
        if self.draw_recurrent is None:
            self.refuse("recurrent layer")
        layer = super().recurrent(features)
        assert isinstance(layer, Recurrent)
        self.draw_recurrent(layer.weight.get_parameter("weight"))
        return layer

    def refuse(self, what: str, way_out: str = "use model=mlp") -> NoReturn:
        raise InputError(f"method={self.name} hands on spike times and knows no {what}; {way_out}")

    def conv(self, inputs: int, outputs: int, kernel: int, padding: int = 0, stride: int = 1) -> NoReturn:
        self.refuse("convolution")

    def pool(self, kernel: int) -> NoReturn:
        self.refuse("pooling")

    def feedback(self, inputs: int, outputs: int, size: tuple[int, int]) -> NoReturn:
        self.refuse("feedback")

    def dropout(self, p: float) -> NoReturn:
        self.refuse("dropout", "use model.dropout=0")
